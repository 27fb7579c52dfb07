ARG TAG=1
FROM base:${TAG} AS build
ENV CC=gcc
ARG LEVEL=2
RUN make LEVEL=$LEVEL
FROM build AS test
RUN make test
FROM base:1 AS unused
RUN exit 1
FROM scratch
COPY --from=build /out/app /bin/app
COPY --from=test --chown=1000:50 --chmod=0644 /report /
COPY --from=files etc /etc
ENTRYPOINT ["/bin/app"]
