"""A peer's process: times its framework's side of a case. A line of JSON in, a line out.

{"case", "setup", "code", "sample", "samples", "budget", ...} -> {"seconds"} or {"error"}; with "first": true, of the next call alone;
{"clear": true} drops what is kept of a case. bench/case.ts says what the fields mean; `code` is timed as bench/measure.ts does.
`sync`, where the setup defines it, waits for what the calls of a sample have begun.
"""
import contextlib
import json
import os
import statistics
import sys
import timeit

sys.dont_write_bytecode = True
WARM_UP = 0.05
# What frameworks print goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(line):
    print(json.dumps(line), file=answers, flush=True)


def message(error):
    return f"{type(error).__name__}: {error}".split("\n")[0]


@contextlib.contextmanager
def importing():
    """Says why a framework cannot be imported, and ends the process."""
    try:
        yield
    except Exception as error:
        say({"error": message(error)})
        sys.exit()


def threads():
    return int(sys.argv[1])


class Work:
    """The timed statement of a case, in the names of its setup."""

    def __init__(self, request, names):
        scope = dict(names)
        exec(request.get("setup", ""), scope)
        self.sync = scope.get("sync") or (lambda: None)
        self.timer = timeit.Timer(request["code"], globals=scope)

    def time(self, calls):
        seconds = self.timer.timeit(calls)
        start = timeit.default_timer()
        self.sync()
        return seconds + timeit.default_timer() - start

    def measure(self, sample, samples, budget):
        self.time(1)  # what the first call traces or compiles is no warm-up
        spent = 0.0
        while spent < WARM_UP:
            spent += self.time(1)
        calls = 1
        while self.time(calls) < sample:
            calls *= 2
        times, spent = [], 0.0
        while len(times) < samples or spent < budget:
            seconds = self.time(calls)
            times.append(seconds / calls)
            spent += seconds
        return statistics.median(times)


def serve(name, names, context=lambda request: contextlib.nullcontext(), inputs=lambda request: {}):
    """`names`: what setups may use; `context`: what a case runs in; `inputs`: further names, made for a case."""
    prepared = {}
    say({"name": name})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request.get("clear"):
                prepared.clear()
                answer = {}
            else:
                with context(request):
                    case = request["case"]
                    if case not in prepared:
                        prepared[case] = Work(request, {**names, **inputs(request)})
                    work = prepared[case]
                    if request.get("first"):
                        answer = {"seconds": work.time(1)}
                    else:
                        answer = {"seconds": work.measure(request["sample"], request["samples"], request["budget"])}
        except Exception as error:
            answer = {"error": message(error)}
        say(answer)
