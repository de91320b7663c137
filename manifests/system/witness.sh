#!/bin/bash
# The witness of a node: writes down which containers of pods start and exit here, and when, on the node's own disk,
# so that it can be read while the node is cut off, paused or stopped. chaos/witness.py brings it here and fetches what
# it wrote, chaos/witness_log.py reads that. It needs bash and ctr, and starts no process in its steady state.
#
# A line is a word and what belongs to it. MONO is the monotonic clock in ns, DATE TIME containerd's wall clock (UTC),
# WALL the wall clock in us. PID and TICKS are the process and its start in clock ticks since boot ("-": not known).
#   began MONO INIT                 a witness began; INIT is when the node's first process started, in ticks
#   clock MONO ERROR WALL WALL      MONO, too small by at most ERROR ns, lies between the two
#   open MONO MARK                  the runtime's events are heard from here on, and the list of what runs follows
#   listed MONO COUNT               the list is whole, or was looked at again; COUNT tasks have a folder
#   lost MONO                       the events ended; until the next "open" it looks at the processes instead
#   start MONO DATE TIME ID PID TICKS NAMESPACE POD UID CONTAINER
#   seen MONO - - ID PID TICKS NAMESPACE POD UID CONTAINER     it was running at MONO
#   exit MONO EVENT                 as the runtime tells it
#   gone MONO FROM ID               its process was there at FROM and is not now
#   turned MONO                     the last line of a file; the next one begins with "cut" and the same MONO
#   cut MONO                        what is not in the file before this one was thrown away
#   unwritten MONO                  since MONO the disk took no lines; the list of what runs follows
set -u
export LC_ALL=C
folder=${1:-/kindstorm-witness}
tasks=${2:-/run/containerd/io.containerd.runtime.v2.task/k8s.io}
proc=${3:-/proc}
most_bytes=${4:-2097152}
steady_s=0.5
looking_s=0.2

declare -A who=() process=() alive=()
size=0 failed='' mono=0 events='' heard='' partial='' mark='' marker='' unlisted=''

# The kernel tells its monotonic clock to root, in ns; a container that may not ask gets the uptime, in 10 ms. No more
# than the first line's worth is read: the kernel would write all its timers otherwise (1 ms instead of 20 us).
monotonic() {
  local text
  if read -r -N 80 text < "$proc/timer_list" && [[ $text =~ now\ at\ ([0-9]+)\  ]]; then
    mono=${BASH_REMATCH[1]} precision=1
  else
    read -r text _ < /proc/uptime
    mono=${text/./}0000000 precision=10000000
  fi
} 2> /dev/null

write() {
  if [[ -n $failed ]]; then
    printf '\nunwritten %s\n' "$failed" >&3 || return 0
    failed='' unlisted=yes
  fi
  printf '%s\n' "$*" >&3 || failed=$mono
  size=$((size + ${#1} + 1))
} 2> /dev/null

clock() {
  local before=$EPOCHREALTIME after
  monotonic
  after=$EPOCHREALTIME
  write "clock $mono $precision ${before/./} ${after/./}"
}

# start_of PID: sets ticks to its process's start, or to nothing where it does not run (any more, or not yet: runc's
# own process waits in its place until the container is started).
start_of() {
  local stat
  ticks=''
  read -r stat < "$proc/$1/stat" || return 0
  [[ $stat == *'(runc:['* && ${2:-} != early ]] && return 0
  stat=${stat##*) }
  [[ $stat == [ZX]* ]] && return 0
  set -- $stat
  ticks=${20}
} 2> /dev/null

# identify ID: remembers which container of which pod it is; a sandbox is none.
identify() {
  local json field name words=''
  [[ -n ${who[$1]:-} ]] && return 0
  read -r json < "$tasks/$1/config.json" || [[ -n ${json:-} ]] || { who[$1]='- - - -'; return 0; }
  if [[ $json == *'"io.kubernetes.cri.container-type":"sandbox"'* ]]; then
    who[$1]=sandbox
    return 0
  fi
  for field in sandbox-namespace sandbox-name sandbox-uid container-name; do
    name=-
    [[ $json =~ \"io.kubernetes.cri.$field\":\"([^\"]+)\" ]] && name=${BASH_REMATCH[1]}
    words+=" $name"
  done
  who[$1]=${words# }
} 2> /dev/null

# seen ID: writes it down where its process runs.
seen() {
  local pid=${process[$1]%% *}
  start_of "$pid"
  [[ -n $ticks ]] || return 1
  process[$1]="$pid $ticks"
  alive[$1]=$mono
  write "seen $mono - - $1 $pid $ticks ${who[$1]}"
}

# look: every task that has a folder and that nobody told of is written down, and every one whose process is gone.
look() {
  local path id pid count=0
  monotonic
  for path in "$tasks"/*/; do
    [[ -d $path ]] || continue
    id=${path%/} id=${id##*/} count=$((count + 1))
    [[ ${who[$id]:-} == sandbox || -n ${alive[$id]:-} ]] && continue
    identify "$id"
    [[ ${who[$id]} == sandbox ]] && continue
    read -r pid < "$path/init.pid" || [[ -n ${pid:-} ]] || continue
    start_of "$pid" early
    process[$id]="$pid ${ticks:--}"
    seen "$id"
  done 2> /dev/null
  for id in "${!alive[@]}"; do
    start_of "${process[$id]%% *}"
    if [[ -n $ticks && (${process[$id]##* } == "$ticks" || ${process[$id]##* } == -) ]]; then
      alive[$id]=$mono
    else
      write "gone $mono ${alive[$id]} $id"
      unset "alive[$id]"
    fi
  done
  write "listed $mono $count"
}

# turn: what is kept is bounded; a file begins with all that runs, so it can be read by itself.
turn() {
  monotonic
  write "turned $mono"
  mv -f "$folder/log" "$folder/log.1"
  exec 3>> "$folder/log"
  size=0
  write "cut $mono"
  clock
  local id
  for id in "${!alive[@]}"; do seen "$id"; done
  write "listed $mono ${#alive[@]}"
}

# hear LINE: one event of the runtime.
hear() {
  local id ticks=- early
  monotonic
  case $1 in
    *" kindstorm /namespaces/update "*"\"mark\":\"$mark\""*)
      if [[ -z $heard ]]; then
        heard=yes
        write "open $mono $mark"
        look
      fi
      return 0
      ;;
    *' k8s.io /tasks/create {'* | *' k8s.io /tasks/start {'* | *' k8s.io /tasks/exit {'* | *' k8s.io /tasks/delete {'*) ;;
    *) return 0 ;;
  esac
  [[ $1 =~ \"container_id\":\"([^\"]+)\" ]] || return 0
  id=${BASH_REMATCH[1]}
  [[ $1 =~ \"pid\":([0-9]+) ]] && early=${BASH_REMATCH[1]} || early=-
  [[ $1 == *' /tasks/exit '* || $1 == *' /tasks/delete '* ]] || identify "$id"
  [[ ${who[$id]:-} == sandbox && $1 != *' /tasks/delete '* ]] && return 0
  case $1 in
    *' /tasks/create '*)
      start_of "$early" early
      process[$id]="$early ${ticks:--}"
      ;;
    *' /tasks/start '*)
      set -- $1
      write "start $mono $1 $2 $id ${process[$id]:-$early -} ${who[$id]}"
      process[$id]=${process[$id]:-$early -}
      alive[$id]=$mono
      ;;
    *' /tasks/exit '*)
      [[ $1 =~ \"id\":\"([^\"]+)\" && ${BASH_REMATCH[1]} != "$id" ]] && return 0 # of a command in it, such as a probe's
      write "exit $mono $1"
      unset "alive[$id]"
      ;;
    *' /tasks/delete '*)
      [[ $1 =~ \"id\":\"([^\"]+)\" && ${BASH_REMATCH[1]} != "$id" ]] && return 0
      unset "who[$id]" "process[$id]"
      ;;
  esac
}

listen() {
  exec {events}< <(exec ctr --namespace k8s.io events 2> /dev/null 3>&- 9>&-)
  monotonic
  mark=$mono heard='' partial=''
}

# beg: has the runtime tell of something of ours, which shows that its events are heard.
beg() {
  [[ -n $marker ]] && kill -0 "$marker" 2> /dev/null && return 0
  { ctr namespaces create kindstorm; ctr namespaces label kindstorm "mark=$mark"; } < /dev/null &> /dev/null 3>&- 9>&- &
  marker=$!
}

mkdir -p "$folder"
exec 9>> "$folder/lock"
flock -n 9 || exit 0
[[ -e $folder/log ]] && read -r size < <(stat -c %s "$folder/log")
exec 3>> "$folder/log"
start_of 1
monotonic
write '' # ends a line that was being written when a witness before this one died
write "began $mono ${ticks:--}"
clock
listen
due=0
while :; do
  pause=$looking_s
  [[ -n $heard ]] && pause=$steady_s
  if read -r -t "$pause" -u "$events" line; then
    hear "$partial$line"
    partial=''
  elif (($? > 128)); then
    partial+=$line
  else
    exec {events}<&-
    monotonic
    [[ -n $heard ]] && write "lost $mono"
    heard=''
    sleep "$looking_s"
    listen
  fi
  monotonic
  ((mono < due)) && continue
  due=$((mono + 10#${pause/./}00000000))
  clock
  if [[ -n $unlisted ]]; then
    unlisted='' alive=()
    look
  fi
  if [[ -z $heard ]]; then
    look
    beg
  fi
  ((size > most_bytes)) && turn
done
