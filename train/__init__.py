"""The trainer, run from a checkout: `python -m train --config=configs/digits.py --workdir=runs/a`.

`loop.py` tells the story; every verb in it has its own file here.
"""
