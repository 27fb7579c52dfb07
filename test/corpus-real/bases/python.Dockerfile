# What the projects require is here as Debian's packages: pip finds it installed, and asks nobody.
FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends \
      gunicorn python-is-python3 python3-django python3-flask libpq5 python3-dev python3-pip python3-sphinx python3-wheel \
 && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED
ENV PIP_NO_INDEX=1
CMD ["python3"]
