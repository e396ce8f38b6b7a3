"""Fair comparison of strategies: data, recipes, runs that can be resumed, grading, statistics, reports."""
