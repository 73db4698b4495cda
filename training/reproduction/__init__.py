"""The LLM2Vec paper's ablation on SmolLM2-135M, cell by cell: each is one command, its result one JSON file.

    python -m training.reproduction status                       # what is there, what is missing, what comes next
    python -m training.reproduction train mntp                   # one variant
    python -m training.reproduction measure mntp sts             # one cell
    python -m training.reproduction next --minutes 60            # what is missing, the most telling first
    python -m training.reproduction report                       # docs/reproduction.md

Models lie in ``--work``, outside the repository; results in ``training/reproduction/results``. So the work goes on over
several days and machines. Data of any licence is read: no weights of these runs ship.
"""
