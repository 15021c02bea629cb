"""Result files against result files: which are the same, which differ, and which do so by themselves."""

import difflib
from pathlib import Path

# Of which version's suite `differs.txt` tells.
MAJOR = 15


def allowed(kind):
    """Which files may differ in a run of this kind (`transaction`, `busy` or `session`), and why."""
    lines = Path(__file__).with_name("differs.txt").read_text().splitlines()
    rows = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    return {test: why for test, kinds, why in rows if kinds == "all" or kind in kinds.split(",")}


class Outcome:
    """`results` holds a folder for each run: direct-1, direct-2 (perhaps), pgweir."""

    def __init__(self, results, tests, kind):
        self.results, self.tests, self.allowed = results, tests, allowed(kind)
        self.texts = {folder.name: {test: (folder / f"{test}.out").read_text(errors="surrogateescape") for test in tests}
                      for folder in results.iterdir() if folder.is_dir()}
        again = self.texts.get("direct-2")
        self.unstable = [test for test in tests if again and self.texts["direct-1"][test] != again[test]]
        self.different = [test for test in tests if all(
            self.texts["pgweir"][test] != texts[test] for label, texts in self.texts.items() if label != "pgweir")]

    def unexplained(self):
        return [test for test in self.different if test not in self.allowed and test not in self.unstable]

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
            why = self.allowed.get(test, "NOT EXPLAINED")
            lines.append(f"  {test} ({self.changed(test)} lines): {why}")
        lines += [f"  {test} isn't stable by itself: two direct runs differ" for test in self.unstable]
        return "\n".join(lines)

    def changed(self, test):
        return sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in self.difference(test).splitlines())
