FROM base:1
COPY --link a /a
COPY --link --chown=10:20 b c /d/
RUN ls /d
FROM scratch
COPY --link a /a
COPY --link --from=0 /d /d
