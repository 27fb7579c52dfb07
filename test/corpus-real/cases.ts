// Dockerfiles of test/corpus built for real, as they are: each base image they name is replaced (--build-context) by one made
// of Debian's packages. Where that cannot be, contexts/NAME has a Dockerfile of its own that says what differs.

/** A command in the result, and what it must print (standard output and error). */
export interface Effect {
  /** Flags of `tsbuild run`. */
  readonly options?: readonly string[];
  /** Command and arguments; empty: the image's own. */
  readonly command: readonly string[];
  readonly prints: RegExp;
}

export interface RealBuild {
  /** Image as the Dockerfile names it to base: bases/BASE.Dockerfile, or the result of another build. */
  readonly bases: Readonly<Record<string, string>>;
  /** More flags of `tsbuild build`; paths are those in the context. */
  readonly options?: readonly string[];
  /** Another name's Dockerfile and context, relative to contexts/. */
  readonly context?: string;
  readonly effects: readonly Effect[];
}

const sh = (script: string): readonly string[] => ["sh", "-c", script];

/** Name in test/corpus to how it is built. Results may be bases of later ones. */
export const REAL_BUILDS: Readonly<Record<string, RealBuild>> = {
  "variables-everywhere": {
    bases: { "alpine:3.21": "debian" },
    effects: [
      { command: sh("id -u; stat -c '%u:%g %a' *.txt; cat *.txt"), prints: /^7\n7:8 640\n.*Debian/s },
    ],
  },
  "scratch-files": {
    bases: {},
    effects: [
      { command: sh("cat /etc/motd; id; dpkg --version"), prints: /from scratch\nuid=0\(root\).*Debian/s },
    ],
  },
  "debian-apt-cache": {
    bases: { "debian:trixie-slim": "debian" },
    effects: [
      {
        command: sh(
          "gcc --version; find /var/cache/apt /var/lib/apt -name '*.deb' -o -name '*Packages*' | wc -l",
        ),
        prints: /Debian.*\n0\n$/s,
      },
    ],
  },
  "devcontainer-features": {
    bases: { "mcr.microsoft.com/devcontainers/base:bookworm": "devcontainer" },
    effects: [
      { command: sh("id -un; jq -r .node /etc/feature.json; sudo id -un"), prints: /^vscode\n22\nroot\n/ },
    ],
  },
  "ubuntu-dev": {
    bases: { "ubuntu:24.04": "debian" },
    effects: [
      {
        // "[!.]" is a set of two in Go's patterns, so the dotfiles do not come along.
        options: ["--entrypoint", "/bin/zsh"],
        command: ["-ic", "id -un; ls -A | grep -c zshrc; sudo -n id -un; git --version; date +%Z"],
        prints: /^dev\n0\nroot\ngit version .*\nUTC\n$/,
      },
    ],
  },
  "nginx-custom": {
    bases: { "nginx:1.27-alpine-slim": "nginx" },
    effects: [
      {
        command: [
          "bash",
          "-c",
          `nginx && exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3; nginx -s quit`,
        ],
        prints: /200 OK.*from conf\.d\n/s,
      },
    ],
  },
  "node-express": {
    bases: { "node:22.14.0-bookworm-slim": "node" },
    effects: [
      { command: ["node", "src/index.js", "--once"], prints: /^\{"env":"production","user":1000\}\n$/ },
      {
        command: sh("ls node_modules | grep -c is-number; ls node_modules/express/package.json"),
        prints: /^0\n.*json\n$/,
      },
    ],
  },
  "node-onbuild": {
    bases: { "node:22-slim": "node" },
    effects: [{ command: sh("ls /usr/src/app | wc -l"), prints: /^0\n$/ }],
  },
  "node-onbuild/child": {
    bases: { onbuild: "node-onbuild" },
    effects: [{ options: ["--workdir", "/usr/src/app"], command: [], prints: /express 4\n$/ }],
  },
  "node-vite-nginx": {
    bases: { "node:22-alpine": "node", "nginx:1.27-alpine": "nginx" },
    options: ["--build-arg", "VITE_API_URL=https://api.example.org"],
    effects: [
      { command: sh("cat /usr/share/nginx/html/assets/*.js"), prints: /asks https:\/\/api\.example\.org/ },
      { command: ["nginx", "-t"], prints: /test is successful/ },
    ],
  },
  "python-flask": {
    bases: { "python:3.12.9-slim": "python" },
    effects: [
      {
        command: ["python", "-c", "import app; print(app.app.test_client().get('/').text)"],
        prints: /^flask as 10001\n/,
      },
      { command: sh("gunicorn --check-config app:app && id -un"), prints: /^appuser\n$/ },
    ],
  },
  "python-django": {
    bases: { "python:3.12-slim-bookworm": "python" },
    effects: [
      {
        command: ["python", "-c", "import greeter; print(greeter.greet('you'))"],
        prints: /^hello you, libpq 15\n$/,
      },
      {
        command: sh(
          "cat collected/site.css; stat -c %U:%a collected/site.css /usr/local/bin/docker-entrypoint.sh; id -un",
        ),
        prints: /^body.*\npython:644\npython:755\npython\n$/s,
      },
    ],
  },
  "python-secrets": {
    bases: { "python:3.12-slim": "python" },
    options: ["--secret", "id=pip,src=pip.conf", "--secret", "id=token,src=requirements.txt"],
    effects: [
      {
        command: sh("python main.py; ls; ls /etc/pip.conf"),
        prints: /^from src\nmain\.py\nrequirements\.txt\n.*No such file/s,
      },
    ],
  },
  "docs-sphinx": {
    bases: { "python:3.12-slim": "python", "nginx:alpine": "nginx" },
    effects: [{ command: ["cat", "/usr/share/nginx/html/index.html"], prints: /The text of the manual\./ }],
  },
  "cpp-cmake": {
    bases: { "debian:bookworm-slim": "debian" },
    // sha256 of "1.2" begins with 77ac319b.
    effects: [{ command: [], prints: /^1\.2 77ac319b\n$/ }],
  },
  "c-autotools": {
    bases: { "debian:bookworm-slim": "debian" },
    effects: [{ command: [], prints: /^tool 1\.4\.2\n$/ }],
  },
  "go-test-targets": {
    bases: { "golang:1.24": "golang", "debian:bookworm-slim": "debian" },
    effects: [{ command: ["hello"], prints: /^hello from go\n$/ }],
  },
  "go-test-targets/coverage": {
    bases: { "golang:1.24": "golang" },
    context: "go-test-targets",
    options: ["--target", "test"],
    effects: [{ command: ["cat", "/tmp/cover.out"], prints: /greet\.go:3\..* 1 1$/m }],
  },
  "php-apache": {
    bases: { "php:8.3-apache": "apache" },
    effects: [
      {
        command: sh(
          "apachectl -t -D DUMP_MODULES | grep -c -e rewrite -e headers; php public/index.php; stat -c %U storage/README",
        ),
        prints: /2\nphp 8 as root\nwww-data\n/,
      },
      {
        command: [
          "bash",
          "-c",
          `apachectl start && exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3; apachectl stop`,
        ],
        prints: /200 OK.*php 8 as somebody/s,
      },
    ],
  },
  "haproxy-certs": {
    bases: { "haproxy:3.1": "haproxy" },
    options: ["--secret", "id=tls_key,src=tls.key"],
    effects: [
      {
        command: [
          "bash",
          "-c",
          `haproxy -D -f /usr/local/etc/haproxy/haproxy.cfg && exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3; id -u`,
        ],
        prints: /200 OK.*from haproxy99\n$/s,
      },
      {
        options: ["--user", "root"],
        command: sh("cat /usr/local/etc/haproxy/site.pem; stat -c %a /usr/local/etc/haproxy/site.pem"),
        prints: /^a certificate\na private key\n600\n$/,
      },
    ],
  },
  "ruby-jekyll": {
    bases: { "ruby:3.3": "ruby", "nginx:alpine": "nginx" },
    effects: [{ command: ["cat", "/usr/share/nginx/html/index.html"], prints: /Journal for production/ }],
  },
  "postgres-official-style": {
    bases: { "debian:bookworm-slim": "debian" },
    effects: [
      {
        command: sh(
          "pg_ctl -w -s -o '-k /tmp -c listen_addresses=' start && psql -h /tmp -c '\\d shop' && id -un; pg_ctl -s stop",
        ),
        prints: /name +\| text.*\npostgres\n/s,
      },
    ],
  },
  "redis-modules": {
    bases: { "debian:bookworm-slim": "debian" },
    effects: [
      {
        command: sh(
          "redis-server /etc/redis/redis.conf --daemonize yes --save '' > /dev/null; until redis-cli ping; do sleep 0.1; done; redis-cli answer; redis-cli config get maxmemory; redis-cli shutdown; id -un",
        ),
        prints: /PONG\n42\nmaxmemory\n67108864\nredis\n$/,
      },
    ],
  },
};
