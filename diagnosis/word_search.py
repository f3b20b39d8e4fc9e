"""Words as the history finds them, place by place. Reads only.

A word is looked for wherever people write: in accession numbers, patient codes, notes, comments and conclusions. A word
of one or two letters is in nearly every text, and no index finds it there: accession numbers and patient codes that
begin with it are what it finds, and nothing else.
"""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import IsNull

from diagnosis import veil
from diagnosis.models import Case, Review, SignOut, User

LETTERS_WITHIN: Final = 3
"""As many letters must a word have to be found within texts: indexes hold pieces of three (services.search_indexes)."""
_TELLING_DIGITS: Final = 4


def is_short(word: str) -> bool:
    """Whether a word finds beginnings of accession numbers and patient codes alone."""
    return len(word) < LETTERS_WITHIN


def has_word(word: str, user: User) -> Q:
    """Cases with a word in any place. To go through all cases, as an export does.

    Each place is searched by itself, by its own index, and the finds are put together: joined by OR they would have
    the database read every row.
    """
    return begins_with(word) if is_short(word) else Q(pk__in=found_anywhere(word, user))


def found_anywhere(word: str, user: User) -> QuerySet[Case, Any]:
    """Keys of all cases with a word, put together of what each place has."""
    cases = Case.objects.filter(laboratory_id=user.laboratory_id).order_by()
    found = cases.filter(accession_number__icontains=word).values("pk")
    return found.union(
        cases.filter(patient_code__icontains=word).values("pk"),
        cases.filter(note__icontains=word).values("pk"),
        comments(word, user).values("image__case"),
        conclusions(word, user).values("case"),
    )


def begins_with(word: str) -> Q:
    return Q(accession_number__istartswith=word) | Q(patient_code__istartswith=word)


def in_case(word: str) -> Q:
    """Cases with a word in what they hold themselves."""
    return Q(accession_number__icontains=word) | Q(patient_code__icontains=word) | Q(note__icontains=word)


def comments(word: str, user: User) -> QuerySet[Review]:
    """Comments of the user's laboratory with a word; those on images that a reader has yet to class are kept back."""
    found = Review.objects.filter(
        ~Q(comment=""), comment__icontains=word, image__case__laboratory_id=user.laboratory_id
    )
    if veil.reads_blind(user):
        found = found.filter(veil.shown_to(user, "image__", "image__case__"))
    return found.order_by()


def conclusions(word: str, user: User) -> QuerySet[SignOut]:
    """Signatures of the user's laboratory with a word in their conclusion."""
    return SignOut.objects.filter(
        conclusion__icontains=word, case__laboratory_id=user.laboratory_id
    ).order_by()


def of_each(word: str, user: User, *, few: bool) -> Q:
    """As `has_word`, asked of one case after the other: of `few` cases, or of so many that the database may prefer to
    look for all comments with the word first.
    """
    commented = comments(word, user).filter(image__case=OuterRef("pk"))
    concluded = conclusions(word, user).filter(case=OuterRef("pk"))
    return in_case(word) | Q(some(concluded)) | Q(some(commented) if few else Exists(commented))


def some(rows: QuerySet) -> IsNull:  # type: ignore[type-arg]  # of whichever model
    """Whether there are such rows, asked for each case anew. Of EXISTS, PostgreSQL may go through all rows first."""
    return IsNull(Subquery(rows.order_by().values("pk")[:1]), False)


def most_telling_first(words: list[str]) -> list[str]:
    """Words in the order in which they likely narrow most: numbers, then long ones."""
    return sorted(
        words, key=lambda word: (sum(map(str.isdigit, word)) >= _TELLING_DIGITS, len(word)), reverse=True
    )
