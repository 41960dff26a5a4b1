"""Bundles of a finished run for the places that collect results.

`evidence.py` reads a run, `integrity.py` refuses what must not be published as it is (whether a
run's files fit each other is checked by `compare/reading/integrity.py`); `hub.py`,
`every_eval_ever.py`, `instances.py` and `rerun.py` write the parts; `schema.py` checks the records;
`bundle.py` puts them into a folder and reads them back. Nothing is sent anywhere. A number made
under an intervention always carries its spec.
"""
