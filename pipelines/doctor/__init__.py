"""What works on this laptop, workbench or cluster, and how to mend what does not: ``loopline doctor``.

An area is a module with ``check(settings)``, which yields findings; ``checkup`` lists the areas and runs them side by
side, ``report`` shows what they found.
"""
