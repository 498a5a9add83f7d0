# Made by "npm run generate" from the table of commands: change that.

function __mjf_agent_keys
    set -l dir /run/mjf-agent
    set -q MJF_AGENT_RUNTIME_DIR; and set dir $MJF_AGENT_RUNTIME_DIR
    for kind in machinefeatures jobfeatures
        test -d $dir/$kind; and ls $dir/$kind
    end | string match -r '^[a-z0-9_]+$' | sort -u
end

# After "--": what another command line would be completed with.
function __mjf_agent_payload
    set -l words (commandline -opc)
    set -l begin (math (contains -i -- -- $words) + 1)
    set -l payload (string escape -- $words[$begin..-1]) (commandline -ct)
    complete --do-complete=(string join " " -- $payload)
end

# Before "--": what follows it is another command line.
function __mjf_agent_in
    set -l words (commandline -opc)
    not contains -- -- $words; and test (count $words) -ge 2; and test "$words[2]" = $argv[1]
end

complete -c mjf-agent -f
complete -c mjf-agent -n __fish_use_subcommand -s h -l help -d 'show this help'
complete -c mjf-agent -n __fish_use_subcommand -l version -d 'show the version'
complete -c mjf-agent -n __fish_use_subcommand -a run -d 'the daemon'
complete -c mjf-agent -n __fish_use_subcommand -a status -d 'what is known of this machine, on one screen'
complete -c mjf-agent -n __fish_use_subcommand -a get -d 'print the value of one key'
complete -c mjf-agent -n __fish_use_subcommand -a watch -d 'show every change as it comes'
complete -c mjf-agent -n __fish_use_subcommand -a exec -d 'run one payload under the care of the agent'
complete -c mjf-agent -n __fish_use_subcommand -a finish -d 'the payload\'s last word to the site'
complete -c mjf-agent -n __fish_use_subcommand -a notice -d 'announce, cancel or override an interruption (operator)'
complete -c mjf-agent -n __fish_use_subcommand -a env -d 'print MACHINEFEATURES, JOBFEATURES and JOBOUTPUTS'
complete -c mjf-agent -n __fish_use_subcommand -a probe -d 'what this machine is, which channels answer, what the agent would do'
complete -c mjf-agent -n __fish_use_subcommand -a check -d 'validate the configuration'
complete -c mjf-agent -n __fish_use_subcommand -a demo -d 'the whole life of a virtual machine in half a minute'
complete -c mjf-agent -n '__mjf_agent_in help' -a 'run status get watch exec finish notice env probe check demo'

complete -c mjf-agent -n '__mjf_agent_in run' -l config -r -F -d 'read this file alone, not /etc/mjf-agent/config.toml and conf.d'
complete -c mjf-agent -n '__mjf_agent_in run' -l machinefeatures -x -a '(__fish_complete_directories)' -d 'the host\'s machine features'
complete -c mjf-agent -n '__mjf_agent_in run' -l jobfeatures -x -a '(__fish_complete_directories)' -d 'the host\'s job features'
complete -c mjf-agent -n '__mjf_agent_in run' -l joboutputs -x -a '(__fish_complete_directories)' -d 'where words to the site go'
complete -c mjf-agent -n '__mjf_agent_in run' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'publish here (default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in run' -l state-dir -x -a '(__fish_complete_directories)' -d 'keep here what outlives a boot (default /var/lib/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in run' -l listen -x -d 'HTTP interface (default 127.0.0.1:8653 and [::1]:8653; port 0 picks one)'
complete -c mjf-agent -n '__mjf_agent_in run' -l poweroff-when-done -d 'switch the machine off once payloads have lived and all have ended ([stop] when_done, idle)'
complete -c mjf-agent -n '__mjf_agent_in run' -l log-level -x -a 'trace debug info warn error fatal silent' -d 'least that is logged: trace, debug, info, warn or error (default info)'
complete -c mjf-agent -n '__mjf_agent_in run' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in status' -l json -d 'print the document of GET /v1/lifetime'
complete -c mjf-agent -n '__mjf_agent_in status' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in status' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in get' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in get' -s h -l help -d 'show this help'
complete -c mjf-agent -n '__mjf_agent_in get' -a '(__mjf_agent_keys)'

complete -c mjf-agent -n '__mjf_agent_in watch' -l json -d 'a line is the whole document of GET /v1/lifetime'
complete -c mjf-agent -n '__mjf_agent_in watch' -l plain -d 'lines on a terminal too'
complete -c mjf-agent -n '__mjf_agent_in watch' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in watch' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in exec' -l name -x -d 'what it is called in status, logs and metrics (default: the command)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l features -x -a 'path url' -d 'give the payload directories or URLs in MACHINEFEATURES and JOBFEATURES (default path)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l grace -x -d 'how long before the deadline stopping begins, e.g. 90s (default: the daemon\'s)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l step -x -d 'one step of stopping, e.g. grace:SIGTERM or 5s:SIGKILL:all; may be given more than once'
complete -c mjf-agent -n '__mjf_agent_in exec' -l cpus -x -d 'processors that are its own (allocated_cpu)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l wall -x -d 'stop it at the latest after this long, e.g. 12h (wall_limit_secs); with or without a daemon'
complete -c mjf-agent -n '__mjf_agent_in exec' -l memory -x -d 'memory that is its own, e.g. 4G (max_rss_bytes)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l scratch -x -d 'scratch space that is its own, e.g. 20G (scratch_limit_bytes)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l job-id -x -d 'the batch system\'s name of it (job_id)'
complete -c mjf-agent -n '__mjf_agent_in exec' -l code -x -d 'what its end means to the site, e.g. "3=300:No more work"; EXIT is 0 to 255, signal or other'
complete -c mjf-agent -n '__mjf_agent_in exec' -l config -r -F -d 'configuration: [report.codes], and all the rest for when there is no daemon'
complete -c mjf-agent -n '__mjf_agent_in exec' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in exec' -s h -l help -d 'show this help'
complete -c mjf-agent -n 'contains -- -- (commandline -opc)' -a '(__mjf_agent_payload)'

complete -c mjf-agent -n '__mjf_agent_in finish' -l payload -x -d 'whose word it is (default: that of the payload to which this process belongs)'
complete -c mjf-agent -n '__mjf_agent_in finish' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in finish' -s h -l help -d 'show this help'
complete -c mjf-agent -n 'contains -- -- (commandline -opc)' -a '(__mjf_agent_payload)'

complete -c mjf-agent -n '__mjf_agent_in notice' -l in -x -d 'the deadline is so long from now: 90s, 30m, 2h'
complete -c mjf-agent -n '__mjf_agent_in notice' -l at -x -d 'the deadline: UNIX seconds, or ISO 8601 such as 2025-12-22T21:46:40Z'
complete -c mjf-agent -n '__mjf_agent_in notice' -l kind -x -a 'shutdown drain' -d 'shutdown (default) or drain, which needs no time'
complete -c mjf-agent -n '__mjf_agent_in notice' -l reason -x -d 'shown to everyone'
complete -c mjf-agent -n '__mjf_agent_in notice' -l cancel -d 'take back the notice ID, or the override of it; without ID all notices of the operator'
complete -c mjf-agent -n '__mjf_agent_in notice' -l ignore -x -d 'override a host\'s notice: it sets no deadline any more'
complete -c mjf-agent -n '__mjf_agent_in notice' -l json -d 'say what was done as JSON, see below'
complete -c mjf-agent -n '__mjf_agent_in notice' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in notice' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in env' -l url -d 'URLs instead of directories, for readers that need them'
complete -c mjf-agent -n '__mjf_agent_in env' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in env' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in probe' -l json -d 'one JSON document, see below'
complete -c mjf-agent -n '__mjf_agent_in probe' -l timeout -x -d 'for all of it (default 10s)'
complete -c mjf-agent -n '__mjf_agent_in probe' -l config -r -F -d 'read this file alone, not /etc/mjf-agent/config.toml and conf.d'
complete -c mjf-agent -n '__mjf_agent_in probe' -l machinefeatures -x -a '(__fish_complete_directories)' -d 'the host\'s machine features'
complete -c mjf-agent -n '__mjf_agent_in probe' -l jobfeatures -x -a '(__fish_complete_directories)' -d 'the host\'s job features'
complete -c mjf-agent -n '__mjf_agent_in probe' -l joboutputs -x -a '(__fish_complete_directories)' -d 'where words to the site go'
complete -c mjf-agent -n '__mjf_agent_in probe' -l runtime-dir -x -a '(__fish_complete_directories)' -d 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)'
complete -c mjf-agent -n '__mjf_agent_in probe' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in check' -l json -d 'one JSON document, see below'
complete -c mjf-agent -n '__mjf_agent_in check' -s h -l help -d 'show this help'

complete -c mjf-agent -n '__mjf_agent_in demo' -s h -l help -d 'show this help'
