#!/bin/sh
# Writes nginx's configuration from nginx.conf.in and the environment, makes a certificate if there is none, and
# becomes nginx. Arguments go to nginx: `start.sh -t` checks the configuration.
#
#   PROXY_REPLICAS            addresses of the replicas, parted by spaces (required)
#   MATTE_MAX_UPLOAD_BYTES    largest body, as the service has it
#   PROXY_PER_ADDRESS         most requests at once from one address
#   PROXY_IN_ALL              most photos at once: what the tmpfs must hold is this times MATTE_MAX_UPLOAD_BYTES
#   PROXY_NAME                the name in a certificate made here
#   PROXY_CERTS               folder of tls.crt (with its chain) and tls.key
#   PROXY_WORK                folder for everything that is written, a tmpfs
#   PROXY_HTTPS_PORT, PROXY_HTTP_PORT, PROXY_HEALTH_PORT, PROXY_ACCESS_LOG
set -eu
here=$(dirname "$0")
work=${PROXY_WORK:-/tmp}
certs=${PROXY_CERTS:-/certs}
bytes=${MATTE_MAX_UPLOAD_BYTES:-25000000}

fail() {
    echo "proxy: $1" >&2
    exit 1
}

# What goes into the configuration is of harmless letters: a stray ; or } would be a directive.
number() {
    case $2 in '' | *[!0-9]*) fail "$1 must be a whole number, not '$2'" ;; esac
}
path() {
    case $2 in [!/]* | *[!A-Za-z0-9._/-]*) fail "$1 must be a plain absolute path, not '$2'" ;; esac
}

number MATTE_MAX_UPLOAD_BYTES "$bytes"
number PROXY_PER_ADDRESS "${PROXY_PER_ADDRESS:-32}"
number PROXY_IN_ALL "${PROXY_IN_ALL:-80}"
number PROXY_HTTPS_PORT "${PROXY_HTTPS_PORT:-8443}"
number PROXY_HTTP_PORT "${PROXY_HTTP_PORT:-8080}"
number PROXY_HEALTH_PORT "${PROXY_HEALTH_PORT:-8081}"
path PROXY_WORK "$work"
path PROXY_CERTS "$certs"
path PROXY_ACCESS_LOG "${PROXY_ACCESS_LOG:-/dev/stdout}"

servers=
for replica in ${PROXY_REPLICAS:?addresses of the replicas, such as "10.0.0.3:8000 10.0.0.4:8000"}; do
    case $replica in *[!A-Za-z0-9.:_-]*) fail "PROXY_REPLICAS: '$replica' is no address" ;; esac
    servers="$servers server $replica max_fails=2 fail_timeout=5s;"
done

if [ ! -e "$certs/tls.crt" ] && [ ! -e "$certs/tls.key" ]; then
    name=${PROXY_NAME:-localhost}
    echo "proxy: no certificate in $certs: making one for $name, signed by nobody" >&2
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
        -subj "/CN=$name" -addext "subjectAltName=DNS:$name,DNS:localhost,IP:127.0.0.1" \
        -keyout "$certs/tls.key" -out "$certs/tls.crt" 2>/dev/null) || fail "no certificate could be made in $certs"
fi

sed -e "s|@WORK@|$work|g" -e "s|@CERTS@|$certs|g" -e "s|@SERVERS@|$servers|g" \
    -e "s|@MAX_UPLOAD_BYTES@|$bytes|g" \
    -e "s|@PER_ADDRESS@|${PROXY_PER_ADDRESS:-32}|g" -e "s|@IN_ALL@|${PROXY_IN_ALL:-80}|g" \
    -e "s|@HTTPS_PORT@|${PROXY_HTTPS_PORT:-8443}|g" -e "s|@HTTP_PORT@|${PROXY_HTTP_PORT:-8080}|g" \
    -e "s|@HEALTH_PORT@|${PROXY_HEALTH_PORT:-8081}|g" -e "s|@ACCESS_LOG@|${PROXY_ACCESS_LOG:-/dev/stdout}|g" \
    "$here/nginx.conf.in" >"$work/nginx.conf"
exec nginx -e stderr -c "$work/nginx.conf" -g "daemon off;" "$@"
