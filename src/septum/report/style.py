"""How a page looks: on a screen, on a phone, on paper."""

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #59626d; --line: #d9dee4; --pale: #f5f7f9;
  --accent: #005a8c }
* { box-sizing: border-box }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif }
main { max-width: 1100px; margin: 0 auto; padding: 2.2rem 1.25rem 4rem }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.2; letter-spacing: -.015em;
  margin: .2rem 0 .6rem; text-wrap: balance; overflow-wrap: anywhere }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 .7rem; padding-top: 1rem;
  border-top: 1px solid var(--line) }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere }
p, figcaption, dl { max-width: 46rem }
p { margin: .5rem 0 } a { color: var(--accent) }
.over { color: var(--accent); font-weight: 600; font-size: .9rem; margin: 0 }
.lead { font-size: 1.08rem } .soft { color: var(--soft); font-size: .92rem }
.notice { border-left: 4px solid #d55e00; background: #fff6ee; padding: .5rem 1rem;
  margin: 1.2rem 0 }
.cards { list-style: none; display: grid; gap: 1rem; padding: 0; margin: 1.6rem 0 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)) }
.cards li { border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem 1rem;
  display: flex; flex-direction: column }
.cards b { font-size: 2.5rem; line-height: 1.15; font-weight: 650; color: var(--accent);
  font-variant-numeric: tabular-nums; letter-spacing: -.02em }
.cards span { color: var(--soft); font-size: .9rem; line-height: 1.4; margin-top: .2rem }
figure { margin: 1rem 0 } figcaption { color: var(--soft); font-size: .92rem; margin-top: .7rem }
.row { break-inside: avoid }
.panels { display: grid; gap: .8rem }
.n1 { grid-template-columns: minmax(0, 34rem) }
.n2 { grid-template-columns: repeat(2, minmax(0, 1fr)) }
.n3 { grid-template-columns: repeat(3, minmax(0, 1fr)) }
.n4 { grid-template-columns: repeat(4, minmax(0, 1fr)) }
.panels div { min-width: 0 }
.panels span { display: block; font-size: .82rem; color: var(--soft); line-height: 1.35;
  margin-top: .2rem; overflow-wrap: anywhere }
img { display: block; width: 100%; height: auto } .pixelated { image-rendering: pixelated }
.charts img { border: 0 }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; padding: 0;
  margin: .6rem 0; font-size: .9rem }
.legend svg { margin-right: .45rem; vertical-align: -2px }
.scroll { overflow-x: auto; margin: .5rem 0 1.4rem }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap }
th { font-weight: 600; vertical-align: bottom; background: var(--pale) }
th.words, td.words { text-align: left }
td.words { white-space: normal; min-width: 7rem; overflow-wrap: anywhere }
.names td:not(:last-child) { white-space: nowrap }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .25rem 1.2rem;
  margin: .8rem 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
pre { background: var(--pale); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem 1rem; overflow-x: auto;
  font: .86rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
code { font-family: inherit } summary { cursor: pointer; padding: .3rem 0; color: var(--accent) }
@media (max-width: 640px) {
  main { padding: 1.2rem 1rem 3rem }
  .n3, .n4 { grid-template-columns: repeat(2, minmax(0, 1fr)) }
  .charts .panels { grid-template-columns: 1fr }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem }
  th, td { padding: .35rem .6rem }
}
@media print {
  body { font-size: 10.5pt } main { padding: 0; max-width: none } h2 { break-after: avoid }
  figure, .cards li, table { break-inside: avoid }
  pre { white-space: pre-wrap; overflow-wrap: anywhere }
}
"""
