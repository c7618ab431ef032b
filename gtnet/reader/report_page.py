"""The page around the report: its style, and where its parts go."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1f2328; --quiet: #5f6773; --line: #dfe3e8; --new: #0072b2; --old: #c24e00;
  --paper: #fff; --back: #f4f6f8; color-scheme: light; }
@media (prefers-color-scheme: dark) { :root { --ink: #f0f2f5; --quiet: #a2abb8; --line: #333a44;
  --new: #5cb8f0; --old: #f0a04a; --paper: #14171c; --back: #0d0f13; color-scheme: dark; }
  img.plot { filter: invert(1) hue-rotate(180deg) brightness(1.15); }
  .gtnet-animation { background: #fff; color: #1f2328; border-radius: 8px; padding: .5rem; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2.5rem 1.5rem 3rem; background: var(--paper); color: var(--ink);
  font: 17px/1.6 "Source Serif 4", "Iowan Old Style", Charter, Georgia, serif; }
header, section, .text { max-width: 46rem; margin-inline: auto; }
section { margin-top: 2rem; }
section.folded { margin-top: 1.1rem; }
section.wide { max-width: 84rem; }
.wide > h2, .wide h3, .wide h4, .wide .strip { max-width: 46rem; margin-inline: auto; }
h1, h2, h3, h4, table, figcaption, .claim, .missing {
  font-family: system-ui, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 2.1rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; letter-spacing: -0.01em; margin: 0 0 .75rem; }
h3 { font-size: 1.15rem; margin: 2.5rem 0 0; display: flex; align-items: center; gap: 1rem; }
h4 { font-size: 1rem; font-weight: 500; margin: 2rem 0 .5rem; }
p { margin: 0 0 1rem; }
.lead { font-size: 1.12rem; }
.headline { margin-top: 1.25rem; }
.claim { font-size: 1.1rem; color: var(--quiet); }
.claim b { display: block; font-size: 3.6rem; line-height: 1.1; letter-spacing: -0.03em;
  color: var(--new); font-weight: 650; }
.verdicts { font: 500 1rem/1.5 system-ui, "Helvetica Neue", Arial, "Liberation Sans", sans-serif;
  margin: .75rem auto .5rem; max-width: 46rem; }
.wide > .gtnet-view-here, .wide > details { margin-top: .75rem; }
.beside { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 24rem); gap: 1.5rem; }
.beside figure { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--quiet); }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
.numbers td, .numbers thead th { text-align: right; width: 28%; }
.numbers td { font-size: 1.25rem; }
.numbers .new { color: var(--new); font-weight: 600; }
.facts { font-size: .9rem; }
.facts th { width: 14rem; vertical-align: top; }
.facts td { overflow-wrap: anywhere; }
pre { font-size: .8rem; overflow-x: auto; background: var(--back); padding: 1rem; }
code { font-size: .88em; background: var(--back); padding: .1em .3em; border-radius: .2em; }
.file { overflow-wrap: anywhere; font-size: .78rem; }
summary { cursor: pointer; color: var(--new); }
summary h2 { display: inline; color: var(--ink); }
.wide summary { max-width: 46rem; margin-inline: auto; }
details[open] > summary { margin-bottom: 1rem; }
.headline p { font-size: 1rem; }
figure { margin: 0 0 1.5rem; }
figure img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; line-height: 1.45; color: var(--quiet); margin-top: .4rem; }
figcaption b { color: var(--ink); font-weight: 600; }
.strip { display: flex; flex-wrap: wrap; gap: 1.25rem 1.5rem; }
.strip figure { margin: 0; max-width: min(100%, 21rem); }
.strip img { height: 4.75rem; max-width: 100%; object-fit: contain; display: block; }
.plots { display: grid; gap: 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.scroll { overflow-x: auto; padding: .5rem 0; }
.gtnet-animation svg { display: block; margin: 0 auto; }
.gtnet-animation .controls { margin: .5rem auto 0; }
img.inline { height: 3rem; border: 1px solid var(--line); }
.right { color: var(--new) !important; }
.wrong { color: var(--old) !important; }
.missing { color: var(--quiet); font-size: .9rem; }
.gtnet-animation .picture svg { max-width: none !important; }
@media (max-width: 44rem) { .beside { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 30rem) { body { padding: 1.5rem 1rem 2rem; } h1 { font-size: 1.6rem; } }
@media print { body { padding: 0; font-size: 11pt; } section { margin-top: 2.5rem; } }
</style>
</head>
<body>
$body
$assets
</body>
</html>
"""
