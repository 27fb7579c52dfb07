// An SBOM scanner as an image: busybox and a script that writes statements as BuildKit's protocol has it, and other things when it is told so.

/** Files of a context whose Dockerfile builds on `base` (openWorkshop). Attributes: MODE says what it writes, EXIT how it ends. */
export const SCANNER: Readonly<Record<string, string>> = {
  Dockerfile: `FROM base
COPY --chmod=755 scan.sh /scan.sh
ENV SCANNER=image
WORKDIR /work
USER app
ENTRYPOINT ["/scan.sh"]
CMD ["argument"]
`,
  "scan.sh": `#!/bin/sh
set -eu
cd "$BUILDKIT_SCAN_DESTINATION"
statement() { # NAME
  printf '{"_type":"https://in-toto.io/Statement/v1", "predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3","name":"%s",' "$1"
  printf '"big":12345678901234567890,"saw":"%s","creationInfo":{"creators":["Tool: test"]},"files":[' "$seen"
  printf '{"fileName":"/etc/foo"},{"fileName":"./gone"},{"fileName":"/etc/none"},{"fileName":"/etc/foo","comment":"mine"}]}}'
}
seen=$(cd "$BUILDKIT_SCAN_SOURCE" && echo *)
case "\${BUILDKIT_SCAN_MODE:-}" in
  env) # what the contract says a scanner is given
    echo "SAW user=$(id -u) pwd=$OLDPWD args=$* image=$SCANNER source=$BUILDKIT_SCAN_SOURCE extras=\${BUILDKIT_SCAN_SOURCE_EXTRAS-unset} key=$BUILDKIT_SCAN_KEY"
    touch "$BUILDKIT_SCAN_SOURCE/new" 2>/dev/null || echo SAW readonly
    echo > /tmp/file; grep -q ' /tmp tmpfs ' /proc/mounts && echo SAW tmpfs ;;
  link) ln -s /scan.sh sbom.spdx.json ;;
  junk) echo '{"predicateType":' > sbom.spdx.json ;;
  none) ;;
  *)
    if [ -n "\${BUILDKIT_SCAN_SOURCE_EXTRAS:-}" ]; then
      for target in "$BUILDKIT_SCAN_SOURCE_EXTRAS"*; do
        seen=$(cd "$target" && echo *)
        statement "$(basename "$target")" > "$(basename "$target").spdx.json"
      done
      seen=$(cd "$BUILDKIT_SCAN_SOURCE" && echo *)
    fi
    statement sbom > sbom.spdx.json ;;
esac
if [ "\${BUILDKIT_SCAN_EXIT:-0}" != 0 ]; then echo "scanner gives up"; exit "$BUILDKIT_SCAN_EXIT"; fi
`,
};
