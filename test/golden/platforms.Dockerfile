# platforms: both
FROM --platform=$BUILDPLATFORM base:1 AS build
ARG TARGETARCH
RUN cross $TARGETARCH
FROM base:1
COPY --from=build /out /
