"""What Postgres' own grammar (libpg_query, by pglast) says of SQL texts.

Reads texts, each ended by a NUL, and files of psql scripts named as arguments; writes a line of JSON for each text:
{"sql": …, "statements": [{"kind", "writes", "relations", "functions"}]}, or {"sql": …, "error": …}.
"""

import json
import re
import sys
from pathlib import Path

import pglast
from pglast import ast, enums
from pglast.visitors import Visitor

# A call that the grammar itself makes out of EXTRACT, SUBSTRING and the like has no name of the text's.
SYNTAX = enums.CoercionForm.COERCE_SQL_SYNTAX


class Facts(Visitor):
    def __init__(self):
        super().__init__()
        self.writes = False
        self.relations = set()
        self.functions = set()
        self.scopes = []

    def visit_FuncCall(self, _, node):
        names = [name.sval for name in node.funcname]
        if node.funcformat != SYNTAX and names[0] != "pg_catalog":
            self.functions.add(names[-1])

    def visit_InsertStmt(self, _, node):
        self.writes = True

    visit_UpdateStmt = visit_DeleteStmt = visit_MergeStmt = visit_LockingClause = visit_IntoClause = visit_InsertStmt


def relations(node, visible, found):
    """The relations that a tree names, without the names of the WITHs that can be seen where they stand."""
    if isinstance(node, tuple):
        for item in node:
            relations(item, visible, found)
        return
    if not isinstance(node, ast.Node):
        return
    if isinstance(node, ast.RangeVar):
        if node.schemaname or node.relname not in visible:
            found.add((node.schemaname or "", node.relname))
        return
    clause = getattr(node, "withClause", None)
    if clause is not None:
        inner = set(visible)
        names = [cte.ctename for cte in clause.ctes]
        if clause.recursive:
            inner |= set(names)
        for cte in clause.ctes:
            relations(cte.ctequery, inner, found)
            inner = inner | {cte.ctename}
        visible = inner
    for name in node:
        value = getattr(node, name)
        if name == "withClause":
            continue
        if name == "relation" and isinstance(node, (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)):
            # What is written is never a WITH's.
            found.add((value.schemaname or "", value.relname))
        elif name not in ("intoClause", "lockingClause"):
            relations(value, visible, found)


def explains(statement):
    """What an EXPLAIN explains, and whether that is run."""
    run = False
    for option in statement.options or ():
        if option.defname in ("analyze", "analyse"):
            value = getattr(option.arg, "sval", None) or getattr(option.arg, "boolval", None)
            value = str(getattr(option.arg, "ival", value)).lower()
            run = value not in ("false", "off", "0", "no")
    return statement.query, run


def judge(statement):
    kind = type(statement).__name__
    runs = True
    inner = statement
    if isinstance(statement, ast.ExplainStmt):
        inner, runs = explains(statement)
    facts = Facts()
    facts(inner)
    found = set()
    relations(inner, set(), found)
    queries = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)
    # What belongs to a transaction or a cursor touches no data by itself.
    harmless = (ast.TransactionStmt, ast.FetchStmt, ast.ClosePortalStmt)
    writes = facts.writes or not isinstance(inner, queries + harmless)
    if isinstance(statement, ast.CopyStmt):
        writes = facts.writes or statement.is_from or bool(statement.filename)
    if isinstance(statement, ast.DeclareCursorStmt):
        writes = facts.writes
    return {
        "kind": kind,
        "writes": writes and runs,
        "query": isinstance(inner, queries),
        "relations": sorted(found),
        "functions": sorted(facts.functions),
    }


def answer(sql):
    try:
        parsed = pglast.parse_sql(sql)
        facts = {"statements": [judge(raw.stmt) for raw in parsed]}
    except Exception as error:  # what this grammar refuses, it has no opinion of
        facts = {"error": str(error).splitlines()[0] if str(error) else type(error).__name__}
    sys.stdout.write(json.dumps({"sql": sql, **facts}) + "\n")


def script(path):
    """The statements of a psql script: without its own commands, and without COPY's data."""
    kept, data = [], False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if data:
            data = line != "\\."
        elif line.startswith("\\"):
            kept.append("")
        else:
            kept.append(re.sub(r"\s\\(g\w*|crosstabview|watch|;)\b.*$", ";", line))
            data = bool(re.match(r"\s*copy\b.*\bfrom\s+stdin\b.*;", line, re.IGNORECASE))
    text = "\n".join(kept)
    try:
        yield from pglast.split(text, with_parser=False)
    except Exception:
        # One token that never ends takes the whole file with it: by blocks, then.
        for block in re.split(r";\s*\n", text):
            yield block


def main():
    for sql in sys.stdin.read().split("\0"):
        if sql:
            answer(sql)
    for path in sys.argv[1:]:
        for sql in script(Path(path)):
            answer(sql)


main()
