# debian:bookworm-slim as nearly as it matters: packages of the required priority, and apt asking where the machine asks.
FROM scratch
ADD rootfs.tar /
RUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* \
 && echo 'APT::Keep-Downloaded-Packages "false";' > /etc/apt/apt.conf.d/docker-clean
COPY --from=machine debian/ /
CMD ["bash"]
