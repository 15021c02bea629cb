"""Result files against result files: which are the same, which differ, and which do so by themselves."""

import difflib


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
        return self.different

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

    def summary(self, options, seconds, moves, counts):
        lines = [f"{len(self.tests)} files in {seconds:.0f} s through pgweir; {len(self.different)} differ from a direct run"]
        lines.append(f"  before it, 400 transactions of one client ran on {moves[1]} connections and changed them {moves[0]} times")
        lines += [f"  differs: {test} ({self.changed(test)} lines)" for test in self.different]
        lines += [f"  unstable by itself (two direct runs differ): {test}" for test in self.unstable]
        return "\n".join([*lines, *counts])

    def changed(self, test):
        return sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in self.difference(test).splitlines())
