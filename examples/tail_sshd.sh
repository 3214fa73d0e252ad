#!/bin/sh
# Follows an auth log and prints the logins that are worth a look.
#
#   examples/tail_sshd.sh MODEL [LOG [LIMIT]]
#
# MODEL is a model folder, trained on the logins of older logs:
#
#   ipsight import sshd --input /var/log/auth.log.*.gz --output logins.csv
#   ipsight train --config configs/quickstart.toml --train logins.csv --output runs/sshd
#   examples/tail_sshd.sh runs/sshd/model
#
# Where the model folder has thresholds (`ipsight evaluate --target-fpr …`), a login is printed unless its decision is
# `allow`; elsewhere when its anomaly score is LIMIT, a whole number, or more (default 2). EVENTS=failed or EVENTS=all in
# the environment looks at failed logins, too, and IPSIGHT says where the program is.
set -eu

model=${1:?usage: tail_sshd.sh MODEL [LOG [LIMIT]]}
log=${2:-/var/log/auth.log}
limit=${3:-2}
ipsight=${IPSIGHT:-ipsight}

# Both hand on each row at once. `read` does too, which not every awk does.
"$ipsight" import sshd --follow --input "$log" --events "${EVENTS:-accepted}" |
    "$ipsight" score --model "$model" --line-buffered |
    {
        IFS= read -r header || exit 0
        printf '%s\n' "$header"
        while IFS= read -r row; do
            # An entity may be quoted and hold commas: columns are counted from the end.
            case $header in
            *,decision)
                decision=${row##*,}
                [ "$decision" = allow ] || printf '%s\n' "$row"
                ;;
            *)
                rest=${row%,*} # without entity_seen
                score=${rest##*,}
                case $score in
                -*) ;; # more like a real login
                *) [ "${score%%.*}" -lt "$limit" ] || printf '%s\n' "$row" ;;
                esac
                ;;
            esac
        done
    }
