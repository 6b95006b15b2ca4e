# Runs CPython's own tests, of the modules that are named, and says how each ended: nothing of it depends on the time
# or on random names.
import sys
import unittest

# It loops for ever in zipfile itself, on any host: CVE-2024-8088, mended after 3.12.0.
ENDLESS = "test_malformed_paths"


class Outcomes(unittest.TestResult):
    def say(self, test, ended):
        print(f"{test.id()}: {ended}", flush=True)

    def addSuccess(self, test):
        self.say(test, "passed")

    def addFailure(self, test, error):
        self.say(test, "failed")

    def addError(self, test, error):
        self.say(test, "failed")

    def addSkip(self, test, reason):
        self.say(test, "skipped")

    def addExpectedFailure(self, test, error):
        self.say(test, "passed")

    def addUnexpectedSuccess(self, test):
        self.say(test, "failed")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.say(subtest, "failed")


def without_endless(suite):
    tests = (without_endless(test) if isinstance(test, unittest.TestSuite) else test for test in suite)
    return unittest.TestSuite(test for test in tests if isinstance(test, unittest.TestSuite) or ENDLESS not in test.id())


for name in sys.argv[1:]:
    without_endless(unittest.defaultTestLoader.loadTestsFromName("test." + name)).run(Outcomes())
