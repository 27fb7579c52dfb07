# Debian's package makes its user; the official image has it as 99.
FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/* \
 && usermod --uid 99 haproxy && groupmod --gid 99 haproxy && mkdir -p /usr/local/etc/haproxy
USER haproxy
CMD ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
