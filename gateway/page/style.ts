/** The page's style: system fonts, light and dark, nothing that needs colour to be understood. */
export const STYLE = `
:root {
  --ground: #f6f7f9; --paper: #ffffff; --ink: #1c2430; --soft: #5b6675; --line: #d5dae1; --net: #eaf0f8; --nat: #fbf7ee;
  --nat-line: #cdb98a; --direct: #0f8a5f; --relayed: #b8620a; --down: #c2263b; --unknown: #7a8494; --self: #2b5fc4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #11151b; --paper: #1a2029; --ink: #e6eaf0; --soft: #9aa6b5; --line: #323b48; --net: #18222f; --nat: #221f19;
    --nat-line: #6f6141; --direct: #3ecf97; --relayed: #f0a04b; --down: #ff6b7d; --unknown: #8a95a5; --self: #7aa7ff;
  }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 24px clamp(12px, 3vw, 40px) 40px; max-width: 1400px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 18px }
h1 { margin: 0; font-size: 26px; letter-spacing: -.02em }
header p { margin: 0; color: var(--soft) }
header strong { color: var(--ink) }
a { color: var(--self) }
.facts { list-style: none; margin: 18px 0 14px; padding: 0; display: flex; flex-wrap: wrap; gap: 10px }
.facts li { background: var(--paper); border: 1px solid var(--line); border-left: 4px solid var(--line); border-radius: 8px;
  padding: 8px 16px; color: var(--soft) }
.facts b { color: var(--ink); font-size: 20px; margin-right: 4px; font-variant-numeric: tabular-nums }
.facts .good, .facts .direct { border-left-color: var(--direct) }
.facts .relayed { border-left-color: var(--relayed) }
.facts .bad { border-left-color: var(--down) }
.alarm { margin: 0 0 14px; padding: 8px 16px; border: 1px solid var(--down); border-radius: 8px; color: var(--down); font-weight: 600 }
figure { margin: 0 0 18px; background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 14px; overflow-x: auto }
figcaption { margin-top: 10px; color: var(--soft); font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 20px }
.key::before { content: ""; display: inline-block; width: 30px; margin-right: 8px; vertical-align: middle; border-top: 3px solid var(--direct) }
.key.relayed::before { border-top: 3px dashed var(--relayed) }
.picture { display: block; width: 100%; min-width: 760px; height: auto }
.internet { fill: var(--net); stroke: var(--line) }
.nat { fill: var(--nat); stroke: var(--nat-line); stroke-width: 1.5 }
.door { fill: var(--nat-line) }
.access { stroke: var(--nat-line); stroke-width: 6; opacity: .55 }
.place { font-weight: 650; font-size: 15px; fill: var(--ink) }
.kind { font-size: 12.5px; fill: var(--soft) }
.host rect { fill: var(--paper); stroke: var(--line); stroke-width: 1.3 }
.host circle { fill: var(--direct) }
.host .name { font-size: 13.5px; font-weight: 600; fill: var(--ink) }
.host .note { font-size: 11.5px; fill: var(--soft) }
.host.self rect { stroke: var(--self); stroke-width: 2.2 }
.host.down rect { stroke: var(--down); stroke-width: 2; stroke-dasharray: 5 4 }
.host.down circle { fill: none; stroke: var(--down); stroke-width: 2.5 }
.host.down .note { fill: var(--down); font-weight: 700 }
.host.unknown circle { fill: var(--unknown) }
.all path, .paths path { fill: none; stroke-width: 1.8 }
.all { opacity: .8 }
.paths path { opacity: 0; stroke-width: 3; pointer-events: stroke }
.paths path.lit, .paths path:hover { opacity: 1 }
.picture .direct { stroke: var(--direct) }
.picture .relayed { stroke: var(--relayed); stroke-dasharray: 7 5 }
.pointed .all { opacity: .12 }
.scroll { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 12px }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 8px 14px; border-top: 1px solid var(--line); vertical-align: top }
thead th { border-top: 0; color: var(--soft); font-weight: 600; font-size: 13px; white-space: nowrap }
tbody th { font-weight: 600; white-space: nowrap }
td { white-space: nowrap }
td.state, td.where { white-space: normal; min-width: 11em }
tr.down .state { color: var(--down); font-weight: 600 }
tr.unknown .state { color: var(--unknown) }
code { font: 12.5px ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; color: var(--soft) }
footer { margin-top: 18px; color: var(--soft); font-size: 13px }
.stale #live { opacity: .45 }
.stale #fresh { color: var(--down); font-weight: 600 }
@media (prefers-reduced-motion: no-preference) { .all, #live { transition: opacity .15s } }
`
