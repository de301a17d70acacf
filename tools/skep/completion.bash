# bash completion for skep. Nothing about verbs is written here: what may follow is read from `skep --help`, `skep tools` and
# the help of the verb (its usage lines, or its options), and names of objects from `skep prog show` and its like. zsh can use
# it after `autoload bashcompinit && bashcompinit`.

# The first words: verbs and built-in tools.
_skep_verbs() {
  "$1" --help 2>/dev/null | sed -n '/^example/q; s/^  \([a-z_]*\) .*/\1/p'
  "$1" tools 2>/dev/null | sed -n 's/^\([a-z0-9]*\)  .*/\1/p'
}

# Of the usage lines whose third word is $2 ("" for all): the words that are written as they stand. What a person replaces is
# in capitals; [a|b] and a|b are alternatives. $1: the help text, $2: the third word, $3: which word is wanted (3: the third).
_skep_words() {
  awk -v chosen="$2" -v place="$3" '
    function give(text,   n, parts, i) {
      gsub(/[][]/, "", text)
      n = split(text, parts, "|")
      for (i = 1; i <= n; i++) if (parts[i] ~ /^[a-z][a-z0-9_]*$/) print parts[i]
    }
    { sub(/^usage:/, "      ") }
    /^ +skep / {
      sub(/^ +/, "")
      sub(/   .*$/, "")
      if (place == 3) { give($3); next }
      matches = 0
      n = split($3, first, "|")
      for (i = 1; i <= n; i++) if (first[i] == chosen) matches = 1
      if (!matches) next
      for (i = 4; i <= NF; i++) { give($i); if ($i ~ /^\[?(PROG|MAP|LINK)/) print "id\nname\npinned" (($i ~ /PROG/) ? "\ntag" : "") }
    }
    ' <<<"$1"
}

# The ids or names that `skep KIND show` knows. $1: skep, $2: the verb that is completed, $3: id, name or tag.
_skep_objects() {
  local kind=$2
  case $kind in map | link | btf | prog) ;; struct_ops) kind=map ;; *) kind=prog ;; esac
  "$1" "$kind" show -j 2>/dev/null | grep -o "\"$3\":\(\"[^\"]*\"\|[0-9]*\)" | sed 's/^[^:]*://; s/"//g' | sort -u
}

_skep() {
  local skep=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} help words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words="$(_skep_verbs "$skep") --help --version"
  else
    # Behind -- is a command of its own.
    local i
    for ((i = 2; i < COMP_CWORD; i++)); do
      [[ ${COMP_WORDS[i]} == -- ]] && { compopt -o default 2>/dev/null; return; }
    done
    help=$("$skep" "$verb" --help 2>/dev/null) || return
    case $before in
      id | name | tag) words=$(_skep_objects "$skep" "$verb" "$before") ;;
      dev) words=$(ls /sys/class/net) ;;
      pinned | file | pinmaps | kernel_btf | data_in | ctx_in | data_out | ctx_out | input | context) return ;;
      --backend) words="user kernel" ;;
      *)
        if [[ $word == -* ]]; then
          words=$(grep -o -- '^ *\(-[a-zA-Z],\)\?--[a-z_-]*\|^  -j, --json\|, --pretty' <<<"$help" | grep -o -- '--[a-z_-]*')
          words+=" --help"
        elif [[ $help == usage:* ]]; then
          if ((COMP_CWORD == 2)); then words=$(_skep_words "$help" "" 3); else words=$(_skep_words "$help" "${COMP_WORDS[2]}" 4); fi
        fi
        ;;
    esac
  fi
  # Not compgen -W, which expands its words: names of programs, maps and devices are whatever somebody called them. What is
  # put on the command line is quoted.
  local IFS=$' \t\n' one all
  read -r -d '' -a all <<<"$words"
  for one in "${all[@]}"; do
    [[ $one == "$word"* ]] && { printf -v one %q "$one"; COMPREPLY+=("$one"); }
  done
  return 0
}

complete -o default -F _skep skep
