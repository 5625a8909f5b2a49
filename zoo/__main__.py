"""`python -m zoo fit --model NAME ...`: the scripts' front end, from an installed package."""

from zoo.cli import main

if __name__ == "__main__":
    main()
