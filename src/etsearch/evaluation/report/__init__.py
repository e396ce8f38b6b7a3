"""What reads runs: results, figures, tables, plots, pages."""
