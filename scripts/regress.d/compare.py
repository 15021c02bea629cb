"""Result files against result files: which are the same, which differ, and which do so by themselves."""

import difflib

# What docs/compatibility.md explains, in a few words.
EXPLAINED = {
    "constraints": "currval hidden in a CHECK, after a nextval hidden in a DEFAULT",
    "guc": "expects a server process that hasn't loaded plpgsql yet",
    "plancache": "EXECUTE after ALTER TABLE: rows instead of an error, and the other way round",
    "partition_prune": "session mode: the first EXECUTE in a function",
    "sequence": "currval when another session has used the connection since",
    "stats": "statistics are sent by the process that counted, up to a second later",
    "temp": "expects a server process that never had a temporary table",
    "triggers": "a function in C keeps a flag in its process",
}


class Outcome:
    """`results` holds a folder for each run: direct-1, direct-2 (perhaps), pgweir."""

    def __init__(self, results, tests):
        self.results, self.tests = results, tests
        self.texts = {folder.name: {test: (folder / f"{test}.out").read_text(errors="surrogateescape") for test in tests}
                      for folder in results.iterdir() if folder.is_dir()}
        again = self.texts.get("direct-2")
        self.unstable = [test for test in tests if again and self.texts["direct-1"][test] != again[test]]
        self.different = [test for test in tests if all(
            self.texts["pgweir"][test] != texts[test] for label, texts in self.texts.items() if label != "pgweir")]

    def unexplained(self):
        return [test for test in self.different if test not in EXPLAINED and test not in self.unstable]

    def difference(self, test, label="pgweir"):
        direct, other = (self.texts[name][test].splitlines() for name in ("direct-1", label))
        return "\n".join(difflib.unified_diff(direct, other, f"direct/{test}.out", f"{label}/{test}.out", lineterm="", n=3))

    def differences(self):
        return "\n".join(self.difference(test) for test in self.different)

    def write_differences(self, folder):
        for test in self.different:
            (folder / f"{test}.diff").write_text(self.difference(test) + "\n", errors="surrogateescape")
        for test in self.unstable:
            (folder / f"{test}.unstable").write_text(self.difference(test, "direct-2") + "\n", errors="surrogateescape")

    def summary(self):
        lines = [f"{len(self.different)} of {len(self.tests)} files differ from a direct run"]
        for test in self.different:
            why = EXPLAINED.get(test, "NOT EXPLAINED")
            lines.append(f"  {test} ({self.changed(test)} lines): {why}")
        lines += [f"  {test} isn't stable by itself: two direct runs differ" for test in self.unstable]
        return "\n".join(lines)

    def changed(self, test):
        return sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in self.difference(test).splitlines())
