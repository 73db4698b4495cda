"""Every open question about a GPU in one run of minutes: ``make gpu``; see docs/gpu.md.

    python -m benchmarks.gpu run --device cuda --shapes full --out runs/gpu [--part encode]
    python -m benchmarks.gpu carry              # what the machine will lack, as one folder to take along
    python -m benchmarks.gpu page RESULTS.jsonl # write docs/gpu.md

A part is a process with a time limit, so what hangs or dies there takes nothing else with it. The same lines run on a
CPU over tiny shapes, but for those that end in ``# on a GPU only``.
"""
