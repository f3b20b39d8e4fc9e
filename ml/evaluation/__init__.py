"""How models are judged: metrics with intervals, baselines, repainted stain, gates, plots and evidence."""
