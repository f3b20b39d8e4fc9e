"""What the audit's actions are called: in groups, as its page offers them."""

from __future__ import annotations

ACTIONS: dict[str, dict[str, str]] = {
    "Looking": {
        "open_case": "opened a case",
        "open_image": "was shown an image",
        "open_cells": "opened the cells of a case",
        "open_compare": "compared an image with others",
        "open_sign_out": "opened the sign-out",
        "open_signed_report": "opened a signed report",
        "open_case_facts": "opened the facts of a case",
        "open_worklist": "opened the worklist",
        "open_history": "searched the history",
        "open_audit": "opened the audit",
        "read_by_api": "read results by the API",
    },
    "Cases and images": {
        "create_case": "opened a new case",
        "seed_archive": "drew an archive to measure with",
        "change_case": "changed a case",
        "upload_image": "added an image",
        "retry": "started an analysis again",
        "analysis_done": "analysed an image",
        "analysis_failed": "failed to analyse an image",
        "assign": "assigned a case",
        "release": "released a case",
    },
    "Readings": {
        "review": "read an image",
        "read_blind": "read an image blind",
        "withdraw_review": "took a reading back",
        "read_cells": "classed cells",
        "undo_cell_readings": "took classes of cells back",
        "ask_opinion": "asked for a second opinion",
        "answer_opinion": "gave a second opinion",
        "withdraw_opinion": "withdrew a question",
        "raise_dispute": "raised a dispute",
        "settle_dispute": "settled a dispute",
        "end_dispute": "ended a dispute",
    },
    "Reports": {
        "sign_out": "signed a report out",
        "open_amendment": "opened an amendment",
        "abandon_amendment": "gave an amendment up",
        "sign_amendment": "signed an amendment",
        "signature_failed": "failed to sign",
        "report": "downloaded a report",
        "export_overlay": "downloaded an overlay",
        "export": "exported a table",
    },
    "Models": {
        "register_model": "registered a model version",
        "activate_model": "activated a model version",
        "judge_model": "judged a model version",
        "promote_model": "promoted a model version",
        "force_promote_model": "promoted a model version past the gate",
        "rollback_model": "rolled back to a model version",
        "shadow_model": "made a model version a shadow",
        "retire_model": "retired a model version",
        "adapt_model": "adapted a model version to a site",
        "validate_site": "validated a model version at a site",
        "start_training": "began a training",
        "resume_training": "went on with a training",
        "finish_training": "finished a training",
        "stop_training": "stopped a training",
        "fail_training": "failed in a training",
    },
    "Accounts and laboratory": {
        "login": "logged in",
        "login_failed": "failed to log in",
        "logout": "logged out",
        "reauthenticate": "proved again who works",
        "change_password": "changed the password",
        "change_person": "changed title or name",
        "create_account": "made the first account",
        "create_user": "made an account",
        "change_user": "changed an account",
        "add_second_factor": "added a second factor",
        "remove_second_factor": "removed a second factor",
        "renew_recovery_codes": "made new recovery codes",
        "remove_second_factors": "removed an account's second factors",
        "connect_identity": "connected a single sign-on",
        "end_sessions": "ended other sessions",
        "change_laboratory": "changed the laboratory",
        "set_acceptance_limits": "set the acceptance limits",
        "create_site": "added a site",
        "change_site": "changed a site",
        "save_view": "saved a view",
        "delete_view": "deleted a view",
        "create_api_token": "made a token of the API",
        "revoke_api_token": "revoked a token of the API",
        "create_webhook": "added a webhook",
        "remove_webhook": "removed a webhook",
        "test_webhook": "tested a webhook",
        "retry_webhook_delivery": "sent a webhook's message again",
    },
    "The audit itself": {
        "verify_audit": "verified the audit",
        "begin_audit_chain": "began the chain",
        "reseal_audit_chain": "went on with a new key",
    },
}

_WORDS = {action: word for group in ACTIONS.values() for action, word in group.items()}

KINDS = {
    "case": "case",
    "smearimage": "image",
    "analysis": "analysis",
    "user": "account",
    "modelversion": "model version",
    "laboratory": "laboratory",
    "site": "site",
    "training": "training",
    "signout": "report",
    "secondopinion": "second opinion",
    "dispute": "dispute",
    "apitoken": "token",
    "webhook": "webhook",
    "webhookdelivery": "webhook's message",
    "savedview": "view",
    "cell": "cell",
}
"""Kinds of objects by the names of their tables."""


def action_word(action: str) -> str:
    """What an action is called; one that we have no words for by its name."""
    return _WORDS.get(action, action.replace("_", " "))


def kind_word(kind: str) -> str:
    return KINDS.get(kind, kind)
