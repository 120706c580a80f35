"""The page at /docs: the OpenAPI document as plain HTML.

Owns: the page. Must not know: what the routes do.
FastAPI's own page loads its scripts from a content network that a factory does not reach; this one is a string.
"""

from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0a7d5a; }
@media (prefers-color-scheme: dark) { :root { --accent: #4fd1a5; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .6rem .8rem; border-radius: 6px; overflow-x: auto; }
section { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin: .8rem 0; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; }
section h3 { margin: 0; font: 600 14px ui-monospace, monospace; } .verb { color: var(--accent); }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: .25rem .5rem; }
td { vertical-align: top; } a { color: var(--accent); } .lock { float: right; font-size: 12px; opacity: .7; }
"""

Document = dict[str, Any]


def page(document: Document) -> str:
    """The whole page."""
    info = document["info"]
    operations = "".join(
        _operation(path, verb, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    )
    schemas = "".join(
        _schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
        f"<style>{_STYLE}</style><body><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info.get('description', ''))} The same as a document: <a href=/openapi.json>openapi.json</a>. "
        f"<a href=/>Console</a></p><h2>Requests</h2>{operations}<h2>Types</h2>{schemas}</body></html>"
    )


def _operation(path: str, verb: str, operation: Document) -> str:
    lock = "<span class=lock>needs the operator's token</span>" if operation.get("security") else ""
    shown = "".join(
        f" → {_answer(answer)}" for status, answer in operation["responses"].items() if _good(status)
    )
    example = _curl(path, verb, operation)
    return (
        f"<section>{lock}<h3><span class=verb>{escape(verb.upper())}</span> {escape(path)}</h3>"
        f"<p>{escape(operation.get('description', ''))}{shown}</p>"
        f"{_parameters(operation)}<pre>{escape(example)}</pre></section>"
    )


def _good(status: str) -> bool:
    return status.startswith("2")


def _answer(answer: Document) -> str:
    for content in answer.get("content", {}).values():
        if name := _type(content.get("schema", {})):
            return name
    return ""


def _parameters(operation: Document) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{_type(one.get('schema', {}))}"
        f"<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", [])
    )
    return f"<table>{rows}</table>" if rows else ""


def _curl(path: str, verb: str, operation: Document) -> str:
    if verb == "get":
        return f'curl "$SERVER{path}"'
    reference = (
        operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    return (
        f'curl -X {verb.upper()} "$SERVER{path}" -H "Authorization: Bearer $(cat operator.token)" '
        f"--json '{{…}}'   # {_plain(reference)}"
    )


def _schema(name: str, schema: Document) -> str:
    required = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(kind)}<td>{'' if field in required else 'optional'}"
        for field, kind in schema.get("properties", {}).items()
    )
    values = ", ".join(escape(str(value)) for value in schema.get("enum", []))
    return (
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
        f"{f'<p><code>{values}</code></p>' if values else ''}<table>{rows}</table></section>"
    )


def _type(schema: Document) -> str:
    """The type as HTML, with a link where it is one of ours."""
    if reference := schema.get("$ref"):
        name = escape(str(reference).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {}) or 'rows'}"
    return escape(str(schema.get("format") or schema.get("type") or ""))


def _plain(schema: Document) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]
