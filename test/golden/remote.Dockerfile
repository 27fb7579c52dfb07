FROM base:1
ADD https://example.com/dir/file.tar.gz?x=1 /f/
ADD --checksum=sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --unpack https://example.com/foo.tgz /u
ADD https://example.com/tool.git#v1:sub /tool
ADD --keep-git-dir git@example.com:team/repo.git /repo
