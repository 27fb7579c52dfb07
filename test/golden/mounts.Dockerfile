FROM base:1 AS deps
FROM tools:2
RUN --mount=target=.,rw --mount=from=deps,source=lib,target=/lib make
RUN --mount=type=cache,target=/root/.cache --mount=type=cache,id=apt,target=/var/lib/apt,sharing=locked,from=deps,source=/cache true
RUN --mount=type=cache,target=/c,uid=10,mode=0700 --mount=type=tmpfs,target=/t,size=64m true
RUN --mount=type=secret,id=token --mount=type=secret,id=key,env=KEY --mount=type=secret,id=both,env=BOTH,target=/b,required --mount=type=ssh true
RUN --network=none --security=insecure true
