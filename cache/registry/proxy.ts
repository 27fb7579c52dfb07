// Which proxy is for which URL.

/**
 * Proxy rules of the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, also in lower case. Loopback is never
 * proxied. A NO_PROXY entry is a host, a domain with all below it, or "*"; host:port restricts it to that port.
 */
export function proxyFromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): (url: URL) => URL | null {
  const read = (name: string) => env[name.toLowerCase()] || env[name] || "";
  const exceptions = read("NO_PROXY")
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "");
  return (url) => {
    const text = read(url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY") || read("ALL_PROXY");
    if (text === "") return null;
    const host = url.hostname.toLowerCase();
    if (host === "localhost" || host === "[::1]" || host.startsWith("127.")) return null;
    const port = url.port || (url.protocol === "https:" ? "443" : "80");
    const excepted = exceptions.some((entry) => {
      if (entry === "*") return true;
      const [name = "", onlyPort] = entry.split(/:(?=\d+$)/);
      const domain = name.replace(/^\*?\./, "");
      return (
        (onlyPort === undefined || onlyPort === port) && (host === domain || host.endsWith(`.${domain}`))
      );
    });
    if (excepted) return null;
    const withScheme = text.includes("://") ? text : `http://${text}`;
    return URL.canParse(withScheme) ? new URL(withScheme) : null;
  };
}

/** The same rules for a program that uses libcurl: its variables, which it reads in lower case (curl(1), "ENVIRONMENT"). */
export function proxyVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const read = (name: string): string => env[name.toLowerCase()] || env[name] || "";
  const variables: Record<string, string> = {};
  for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
    if (read(name) !== "") variables[name.toLowerCase()] = read(name);
  if (Object.keys(variables).length === 0) return {};
  const exceptions = [read("NO_PROXY"), "localhost", "127.0.0.0/8", "127.0.0.1", "::1"];
  return { ...variables, no_proxy: exceptions.filter((one) => one !== "").join(",") };
}

/** Proxy-Authorization for the user and password in a proxy's URL; null: it has none. RFC 7617. */
export function proxyAuthorization(proxy: URL): string | null {
  if (proxy.username === "") return null;
  const text = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return `Basic ${Buffer.from(text).toString("base64")}`;
}
