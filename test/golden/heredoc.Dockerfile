FROM base:1
ARG NAME=world
COPY <<hello.txt <<-"raw.txt" /greetings/
hello $NAME
hello.txt
	not $NAME
raw.txt
RUN <<SCRIPT
#!/usr/bin/env python3
print("hello")
SCRIPT
RUN <<EOF
apt-get update
apt-get install
EOF
RUN cat <<ONE - <<TWO
1
ONE
2
TWO
