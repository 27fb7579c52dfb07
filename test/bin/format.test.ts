import { equal, throws } from "node:assert/strict";
import { humanDuration, humanSize, parseDuration, renderFormat, renderTable } from "../../bin/format.ts";
import { cutText, textWidth } from "../../bin/text-width.ts";

describe("output for people", () => {
  it("prints sizes and spans as docker does", () => {
    for (const [bytes, text] of [
      [0, "0B"],
      [999, "999B"],
      [7_834_000, "7.83MB"],
      [133_000_000, "133MB"],
    ] as const) {
      equal(humanSize(bytes), text);
    }
    for (const [ms, text] of [
      [10, "Less than a second"],
      [59_000, "59 seconds"],
      [61_000, "About a minute"],
      [3 * 3_600_000, "3 hours"],
      [5 * 86_400_000, "5 days"],
      [800 * 86_400_000, "2 years"],
    ] as const) {
      equal(humanDuration(ms), text);
    }
  });

  it("reads spans", () => {
    equal(parseDuration("1h30m"), 5_400_000);
    equal(parseDuration("7d"), 604_800_000);
    throws(() => parseDuration("soon"), /invalid duration/);
  });

  it("fills templates, tables and JSON", () => {
    const rows = [
      { Repository: "app", ImageID: "1", Labels: { a: "b" } },
      { Repository: "longer", ImageID: "2", Labels: {} },
    ];
    equal(renderFormat("{{.Repository}}:{{.ImageID}}", rows), "app:1\nlonger:2\n");
    equal(
      renderFormat("table {{.Repository}}\\t{{.ImageID}}", rows),
      "REPOSITORY   IMAGE ID\napp          1\nlonger       2\n",
    );
    equal(
      renderFormat("{{json .Labels}} {{.Labels}} {{.Labels.a}}", rows.slice(0, 1)),
      '{"a":"b"} map[a:b] b\n',
    );
    equal(renderFormat("json", rows.slice(1)), '{"Repository":"longer","ImageID":"2","Labels":{}}\n');
    throws(() => renderFormat("{{.Nope}}", rows), /no field "Nope"/);
    throws(() => renderFormat("{{range .}}", rows), /\{\{range\}\} without \{\{end\}\}/);
  });

  it("lines up tables of any length", () => {
    const rows = Array.from({ length: 300_000 }, (_, index) => String(index));
    const columns = [
      { title: "N", of: (row: string) => row },
      { title: "LAST", of: () => "x" },
    ];
    const lines = renderTable(columns, rows).split("\n");
    equal(lines.length, rows.length + 2);
    equal(lines[0], "N        LAST");
    equal(lines[1], "0        x");
    equal(lines[300_000], "299999   x");
  });

  it("counts columns of wide, combining and coloured text", () => {
    equal(textWidth("日本"), 4);
    equal(textWidth("e\u0301"), 1);
    equal(textWidth("\u001b[31mred\u001b[0m"), 3);
    equal(textWidth("🚀"), 2);
    equal(cutText("\u001b[31mredder\u001b[0m", 3), "\u001b[31mred\u001b[0m");
    equal(cutText("日本", 3), "日");
  });
});
