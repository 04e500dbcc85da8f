"""Where a run is executed. ``local`` runs it as a subprocess of this machine."""
