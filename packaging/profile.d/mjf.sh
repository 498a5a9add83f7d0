# Where the features of this machine and job are (HSF-TN-2016-02), for login shells. What is already set stays.
if [ -z "${MACHINEFEATURES:-}" ] && [ -d /run/mjf-agent/machinefeatures ]; then
  MACHINEFEATURES=/run/mjf-agent/machinefeatures
  export MACHINEFEATURES
fi
if [ -z "${JOBFEATURES:-}" ] && [ -d /run/mjf-agent/jobfeatures ]; then
  JOBFEATURES=/run/mjf-agent/jobfeatures
  export JOBFEATURES
fi
if [ -z "${JOBOUTPUTS:-}" ] && [ -r /run/mjf-agent/url ]; then
  # Empty where the agent has just gone.
  read -r JOBOUTPUTS < /run/mjf-agent/url || :
  if [ -n "${JOBOUTPUTS:-}" ]; then
    JOBOUTPUTS=${JOBOUTPUTS%/}/joboutputs
    export JOBOUTPUTS
  else
    unset JOBOUTPUTS
  fi
fi
