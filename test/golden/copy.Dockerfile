FROM base:1
WORKDIR /srv
COPY a.txt b*.txt dest/
COPY --chown=app:staff --chmod=u+x,go-w a.txt .
COPY --exclude=*.md --exclude=docs . /all
COPY --parents ./src/./lib/*.c src/main.c /tree/
ADD archive.tar.gz /unpacked/
ADD --unpack=false archive.tar.gz /kept/
