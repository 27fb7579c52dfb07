# The gems of the projects are here as Debian's packages: bundler finds them installed.
FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends bundler jekyll && rm -rf /var/lib/apt/lists/*
ENV LANG=C.UTF-8
CMD ["irb"]
