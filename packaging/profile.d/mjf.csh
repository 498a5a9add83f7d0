# Where the features of this machine and job are (HSF-TN-2016-02), for login shells. What is already set stays.
if ( ! $?MACHINEFEATURES && -d /run/mjf-agent/machinefeatures ) then
  setenv MACHINEFEATURES /run/mjf-agent/machinefeatures
endif
if ( ! $?JOBFEATURES && -d /run/mjf-agent/jobfeatures ) then
  setenv JOBFEATURES /run/mjf-agent/jobfeatures
endif
# Empty where the agent has just gone.
if ( ! $?JOBOUTPUTS && -r /run/mjf-agent/url && ! -z /run/mjf-agent/url ) then
  setenv JOBOUTPUTS "`cat /run/mjf-agent/url`/joboutputs"
endif
