#!/bin/bash
# Exit 0 when nginx answers in this container. Bash speaks TCP, so that the image needs no client.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${PROXY_HEALTH_PORT:-8081}"
printf 'GET / HTTP/1.0\r\n\r\n' >&3
read -r -t 3 status <&3
[[ $status == *" 200 "* ]]
