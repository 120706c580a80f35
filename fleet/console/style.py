"""The console's look: one sheet, both themes. Nothing is fetched from anywhere else."""

SHEET = """
:root { --ink: #14201d; --soft: #5d6f6a; --line: #dbe3e0; --card: #ffffff; --ground: #f3f6f5;
  --accent: #0b7a5c; --warn: #b26a00; --bad: #c0392b; --idle: #8a9894; }
body.body--dark { --ink: #e6efec; --soft: #93a5a0; --line: #263430; --card: #141d1b; --ground: #0c1312;
  --accent: #3ccf9f; --warn: #f0a732; --bad: #ff7464; --idle: #6d7d78; }
body { background: var(--ground) !important; color: var(--ink);
  font-family: Inter, 'Segoe UI', system-ui, -apple-system, 'DejaVu Sans', sans-serif; }
.nicegui-content { padding: 0; gap: 0; align-items: stretch; }
.q-header { box-shadow: none !important; }
.r-bar { background: var(--card) !important; color: var(--ink) !important; border-bottom: 1px solid var(--line);
  padding: .55rem 1.4rem; align-items: center; gap: 1.2rem; flex-wrap: wrap; }
.r-mark { font-weight: 700; font-size: 1.15rem; letter-spacing: .02em; color: var(--ink); text-decoration: none; }
.r-mark b { color: var(--accent); }
.r-link { color: var(--soft); text-decoration: none; font-size: .9rem; } .r-link:hover { color: var(--accent); }
.r-soft { color: var(--soft); font-size: .85rem; }
.r-grow { flex: 1; }
.r-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(25rem, 100%), 1fr)); gap: 1rem;
  padding: 1.2rem 1.4rem; width: 100%; }
.r-card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.15rem;
  display: flex; flex-direction: column; gap: .7rem; min-width: 0; }
.r-head { display: flex; align-items: center; gap: .6rem; min-width: 0; }
.r-name { font-weight: 650; font-size: 1.1rem; color: var(--ink); text-decoration: none; overflow-wrap: anywhere; }
.r-name:hover { color: var(--accent); }
.r-badge { font-size: .72rem; font-weight: 600; padding: .12rem .55rem; border-radius: 99px; border: 1px solid;
  color: var(--idle); white-space: nowrap; }
.r-badge.online { color: var(--accent); } .r-badge.silent { color: var(--warn); } .r-badge.broken { color: var(--bad); }
.r-badge.trial { color: var(--warn); }
.r-release { font: .86rem/1.3 ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere; }
.r-card.stale > :not(.r-head):not(.r-subtitle) { opacity: .45; }
.r-figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(9.5rem, 100%), 1fr)); gap: .45rem 1rem; }
.r-figure { display: flex; flex-direction: column; min-width: 0; }
.r-key { color: var(--soft); font-size: .72rem; text-transform: uppercase; letter-spacing: .05em; }
.r-value { font-size: .98rem; font-variant-numeric: tabular-nums; } .r-value.alarm { color: var(--bad); }
.r-track { height: 7px; border-radius: 4px; background: var(--line); overflow: hidden; width: 100%; }
.r-fill { height: 100%; width: 0; border-radius: 4px; background: var(--accent); transition: width .6s linear; }
.r-fill.alarm { background: var(--bad); } .r-fill.update { background: var(--warn); }
.r-between { display: flex; justify-content: space-between; gap: 1rem; align-items: baseline; }
.r-reason { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem .7rem; font-style: italic; min-height: 1.5rem;
  overflow-wrap: anywhere; }
.r-fail { color: var(--bad); font-size: .84rem; overflow-wrap: anywhere; }
.r-ids { display: flex; flex-direction: column; gap: .15rem; min-width: 0; }
.r-id { font: .78rem/1.5 ui-monospace, 'DejaVu Sans Mono', monospace; color: var(--soft); cursor: copy;
  overflow-wrap: anywhere; } .r-id:hover { color: var(--accent); }
.r-empty { padding: 4rem 1.4rem; text-align: center; color: var(--soft); }
.r-wide { padding: 1.2rem 1.4rem; display: flex; flex-direction: column; gap: 1rem; width: 100%; }
.r-pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
.r-title { font-weight: 600; font-size: .95rem; }
.r-chart { height: 15rem; width: 100%; }
.r-scroll { overflow-x: auto; width: 100%; }
.r-table { display: grid; grid-template-columns: max-content max-content max-content max-content minmax(14rem, 1fr);
  gap: .25rem 1.2rem; font-variant-numeric: tabular-nums; font-size: .88rem; align-items: baseline; }
"""
