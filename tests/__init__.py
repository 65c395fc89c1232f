# A package of its own: one in site-packages is called `tests`, too (opensimplex installs it), and a
# folder without this file would come after it in processes that tests start.
