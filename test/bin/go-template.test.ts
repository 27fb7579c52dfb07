// Templates for --format, by the documentation of Go's text/template.

import { equal, throws } from "node:assert/strict";
import { compileTemplate } from "../../bin/go-template.ts";
import { GoStruct, type GoType } from "../../bin/go-values.ts";

const PLATFORM: GoType = {
  name: "v1.Platform",
  fields: [
    { name: "Architecture", key: "architecture", zero: "" },
    { name: "OS", key: "os", zero: "" },
    { name: "Variant", key: "variant", zero: "" },
  ],
};
const INDEX: GoType = {
  name: "v1.Index",
  fields: [
    { name: "Manifests", key: "manifests", zero: [], type: PLATFORM },
    { name: "First", key: "first", zero: null, type: PLATFORM },
  ],
};

const DATA = {
  Name: "app",
  Count: 3,
  List: ["a", "b", "c"],
  Map: { z: 1, y: { deep: true } },
  Empty: [],
  Index: new GoStruct(INDEX, {
    manifests: [
      { architecture: "amd64", os: "linux" },
      { architecture: "arm", os: "linux", variant: "v7" },
    ],
  }),
};

function filled(template: string): string {
  return compileTemplate(template)(DATA);
}

describe("Go templates", () => {
  const cases: readonly (readonly [template: string, text: string])[] = [
    ["{{.Name}} {{ .Count }}{{- /* a word */ -}} !", "app 3!"],
    ["a {{- 1 -}} b", "a1b"],
    ["{{range .List}}<{{.}}>{{end}}", "<a><b><c>"],
    ['{{range $i, $e := .List}}{{if $i}}, {{end}}{{$i}}={{$e}}{{end}}{{"\\n"}}', "0=a, 1=b, 2=c\n"],
    ["{{range $k, $v := .Map}}{{$k}} {{end}}", "y z "],
    ["{{range .Empty}}x{{else}}none{{end}}", "none"],
    ['{{range .List}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}', "ac"],
    ['{{range .List}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', "a"],
    ["{{with .Map.y}}{{.deep}} {{$.Name}}{{end}}", "true app"],
    ["{{with .Nothing}}x{{else with .Name}}{{.}}{{end}}", "app"],
    ["{{if .Empty}}1{{else if .Name}}2{{else}}3{{end}}", "2"],
    ["{{if and .Name (not .Empty)}}yes{{end}}{{or .Empty .Name}}", "yesapp"],
    ["{{$x := .Count}}{{$x = 4}}{{$x}}", "4"],
    ["{{(index .Index.Manifests 1).Variant}}", "v7"],
    ['{{index .Map "y" "deep"}} {{len .List}} {{slice .List 1}}', "true 3 [b c]"],
    ['{{printf "%-5s|%05d|%q|%x" .Name .Count "q" "hi"}}', 'app  |00003|"q"|6869'],
    ['{{join .List ", "}}', "a, b, c"],
    ["{{.Name | upper | lower | title}} {{json .Map}}", 'App {"z":1,"y":{"deep":true}}'],
    ['{{lt 1 2}}{{ge "a" "b"}}{{ne .Name "app"}}{{eq .Count 1 3}}', "truefalsefalsetrue"],
    ["{{.Map}} {{.List}} {{.Nope}}", "map[y:map[deep:true] z:1] [a b c] <no value>"],
    [
      "{{range .Index.Manifests}}{{.OS}}/{{.Architecture}}{{with .Variant}}/{{.}}{{end}} {{end}}",
      "linux/amd64 linux/arm/v7 ",
    ],
    ["{{.Index}}", "{[{amd64 linux } {arm linux v7}] <nil>}"],
    ['{{`raw "text"`}}{{"}}"}}{{true}}', 'raw "text"}}true'],
  ];
  for (const [template, text] of cases) it(template, () => equal(filled(template), text));

  it("says what is wrong", () => {
    for (const [template, words] of [
      ["{{", /unclosed action/],
      ["{{.A", /unclosed action/],
      ["{{if .Name}}", /\{\{if\}\} without \{\{end\}\}/],
      ["{{end}}", /unexpected \{\{end\}\}/],
      ["{{nope .}}", /function "nope" not defined/],
      ["{{.Name 1}}", /can't give argument to non-function \.Name/],
      ["{{index .List 9}}", /out of range/],
      ["{{.Index.Nope}}", /can't evaluate field Nope in type v1\.Index/],
      ["{{.Nope.Nope}}", /nil pointer evaluating interface \{\}\.Nope/],
      ["{{.Name.Nope}}", /can't evaluate field Nope in type string/],
      ["{{range .Name}}{{end}}", /range can't iterate over app/],
      ['{{define "x"}}{{end}}', /not supported/],
      ["{{$x}}", /undefined variable "\$x"/],
      ["{{(}}", /missing value|unclosed left paren/],
      [`${"{{if 1}}".repeat(2000)}`, /nested too deeply/],
      [`{{${"(".repeat(5000)}1${")".repeat(5000)}}}`, /nested too deeply/],
    ] as const)
      throws(() => filled(template), words);
  });

  it("ends with any template", () => {
    const list = Array.from({ length: 3000 }, () => 1);
    const nested = compileTemplate("{{range .}}{{range $}}{{end}}{{end}}");
    throws(() => nested(list), /too many steps/);
  });
});
