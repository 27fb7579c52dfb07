// Texts that leave this machine, or stay for others to read: the credentials in their URLs stay out (threat model S1, S2).

/** What in the query of a URL opens something: names of their own, and those of S3, Azure and Google. */
const SECRET_QUERY =
  /^(?:(?:access|auth|id|private|refresh|personal)?[_-]?(?:token|key)|api[_-]?key|password|secret|sig|signature|(?:x-amz|x-goog)-(?:signature|credential|security-token))$/i;

const END_OF_AUTHORITY = /[\s/?#"'`<>\\,;|(){}[\]]/;
const END_OF_QUERY = /[\s#"'`<>\\]/;

/** The text with what stands for user and password in its URLs replaced as BuildKit does, and what in their queries is a token. The user of
 *  ssh URLs is no secret. */
export function withoutCredentials(text: string): string {
  return text.includes("://") ? withoutTokens(withoutUsers(text)) : text;
}

function withoutUsers(text: string): string {
  let done = "";
  let from = 0;
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    const start = at + 3;
    const end = endOf(text, start, END_OF_AUTHORITY);
    const sign = text.slice(start, end).lastIndexOf("@");
    if (sign < 0) continue;
    const [user = "", password] = text.slice(start, start + sign).split(":", 2);
    const isSsh = text.slice(Math.max(0, at - 3), at).toLowerCase() === "ssh";
    done += `${text.slice(from, start)}${isSsh ? user : "xxxxx"}${password === undefined ? "" : ":xxxxx"}`;
    from = start + sign;
  }
  return done + text.slice(from);
}

function withoutTokens(text: string): string {
  let done = "";
  let from = 0;
  for (let at = text.indexOf("?"); at >= 0; at = text.indexOf("?", from)) {
    const end = endOf(text, at + 1, END_OF_QUERY);
    const fields = text.slice(at + 1, end).split("&");
    done += `${text.slice(from, at + 1)}${fields.map(withoutToken).join("&")}`;
    from = end;
  }
  return done + text.slice(from);
}

function withoutToken(field: string): string {
  const equals = field.indexOf("=");
  return equals > 0 && SECRET_QUERY.test(field.slice(0, equals)) ? `${field.slice(0, equals)}=xxxxx` : field;
}

function endOf(text: string, from: number, end: RegExp): number {
  let at = from;
  while (at < text.length && !end.test(text[at] as string)) at++;
  return at;
}
