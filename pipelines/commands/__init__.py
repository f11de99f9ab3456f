"""The commands of the command line, a module each; ``loopline.pipelines.cli`` imports the one that is asked for.

A command's module has ``add_options(parser, words)``: it gives the command's parser its description, options and
``command``, a function of the parsed options that returns the exit status. ``words`` is what stands behind the command.
"""
