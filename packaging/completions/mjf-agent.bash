# Made by "npm run generate" from the table of commands: change that.
# bash-completion is of use where it is installed, not needed.

_mjf_agent() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local options="" words="" value="" rest="" dir i
  COMPREPLY=()
  # "--option=value" comes in three parts.
  if [[ $cur == = ]]; then
    cur=""
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W 'run status get watch exec finish notice env probe check demo help --help --version' -- "$cur"))
    return
  fi
  if [[ ${COMP_WORDS[1]} == help ]]; then
    ((COMP_CWORD == 2)) && COMPREPLY=($(compgen -W 'run status get watch exec finish notice env probe check demo' -- "$cur"))
    return
  fi
  case ${COMP_WORDS[1]} in
    run)
      options='--config --machinefeatures --jobfeatures --joboutputs --runtime-dir --state-dir --listen --poweroff-when-done --log-level --help --version'
      [[ $prev == --config ]] && value=file
      [[ $prev == --machinefeatures ]] && value=directory
      [[ $prev == --jobfeatures ]] && value=directory
      [[ $prev == --joboutputs ]] && value=directory
      [[ $prev == --runtime-dir ]] && value=directory
      [[ $prev == --state-dir ]] && value=directory
      [[ $prev == --listen ]] && value=any
      [[ $prev == --log-level ]] && value='choice:trace debug info warn error fatal silent'
      ;;
    status)
      options='--json --runtime-dir --help --version'
      [[ $prev == --runtime-dir ]] && value=directory
      ;;
    get)
      options='--runtime-dir --help --version'
      [[ $prev == --runtime-dir ]] && value=directory
      words=key
      ;;
    watch)
      options='--json --plain --runtime-dir --help --version'
      [[ $prev == --runtime-dir ]] && value=directory
      ;;
    exec)
      options='--name --features --grace --step --cpus --wall --memory --scratch --job-id --code --config --runtime-dir --help --version'
      [[ $prev == --name ]] && value=any
      [[ $prev == --features ]] && value='choice:path url'
      [[ $prev == --grace ]] && value=any
      [[ $prev == --step ]] && value=any
      [[ $prev == --cpus ]] && value=any
      [[ $prev == --wall ]] && value=any
      [[ $prev == --memory ]] && value=any
      [[ $prev == --scratch ]] && value=any
      [[ $prev == --job-id ]] && value=any
      [[ $prev == --code ]] && value=any
      [[ $prev == --config ]] && value=file
      [[ $prev == --runtime-dir ]] && value=directory
      rest=yes
      ;;
    finish)
      options='--payload --runtime-dir --help --version'
      [[ $prev == --payload ]] && value=any
      [[ $prev == --runtime-dir ]] && value=directory
      rest=yes
      ;;
    notice)
      options='--in --at --kind --reason --cancel --ignore --json --runtime-dir --help --version'
      [[ $prev == --in ]] && value=any
      [[ $prev == --at ]] && value=any
      [[ $prev == --kind ]] && value='choice:shutdown drain'
      [[ $prev == --reason ]] && value=any
      [[ $prev == --ignore ]] && value=any
      [[ $prev == --runtime-dir ]] && value=directory
      ;;
    env)
      options='--url --runtime-dir --help --version'
      [[ $prev == --runtime-dir ]] && value=directory
      ;;
    probe)
      options='--json --timeout --config --machinefeatures --jobfeatures --joboutputs --runtime-dir --help --version'
      [[ $prev == --timeout ]] && value=any
      [[ $prev == --config ]] && value=file
      [[ $prev == --machinefeatures ]] && value=directory
      [[ $prev == --jobfeatures ]] && value=directory
      [[ $prev == --joboutputs ]] && value=directory
      [[ $prev == --runtime-dir ]] && value=directory
      ;;
    check)
      options='--json --help --version'
      ;;
    demo)
      options='--help --version'
      ;;
    *) return ;;
  esac
  # After "--" stands another command line.
  for ((i = 2; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} == -- ]]; then
      if [[ $rest ]] && declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      elif [[ $rest ]] && ((COMP_CWORD == i + 1)); then
        COMPREPLY=($(compgen -c -- "$cur"))
      elif [[ $rest ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
      fi
      return
    fi
  done
  if [[ ! $value ]]; then
    value=$words
    [[ $cur == -* || ! $words ]] && value=options
  fi
  case $value in
    options) COMPREPLY=($(compgen -W "$options${rest:+ --}" -- "$cur")) ;;
    file | directory)
      compopt -o filenames 2>/dev/null
      if [[ $value == file ]]; then COMPREPLY=($(compgen -f -- "$cur")); else COMPREPLY=($(compgen -d -- "$cur")); fi
      ;;
    key)
      dir=${MJF_AGENT_RUNTIME_DIR:-/run/mjf-agent}
      COMPREPLY=($(compgen -W '$(ls "$dir/machinefeatures" "$dir/jobfeatures" 2>/dev/null | grep -E "^[a-z0-9_]+$" | sort -u)' -- "$cur"))
      ;;
    choice:*) COMPREPLY=($(compgen -W "${value#choice:}" -- "$cur")) ;;
  esac
}
complete -F _mjf_agent mjf-agent
