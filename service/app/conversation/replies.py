"""The answer to a message: FAQ and PRICE from the catalogue, SCHEDULING offers free slots, COMPLEX goes to a person."""

from collections.abc import Sequence

from app.conversation.hydration import Context
from app.conversation.lanes import Lane

_PERSON = {
    "pt": "Obrigado pela mensagem. Uma pessoa da nossa equipe vai responder em breve.",
    "es": "Gracias por su mensaje. Una persona de nuestro equipo le responderá pronto.",
    "en": "Thank you for your message. A member of our team will answer you soon.",
}
_SLOTS = {
    "pt": "Temos estes horários livres: {slots}. Qual prefere?",
    "es": "Tenemos estos turnos libres: {slots}. ¿Cuál prefiere?",
    "en": "These times are free: {slots}. Which one suits you?",
}


def compose(lane: Lane, context: Context, slots: Sequence[str] = ()) -> str:
    """The text to send. What the catalogue does not know is answered by a person, never by a guess."""
    if lane.name == "scheduling" and slots:
        return _SLOTS[lane.language].format(slots=", ".join(slots))
    catalog = {"faq": context.answers, "price": context.prices}.get(lane.name, {})
    return catalog.get(lane.topic, {}).get(lane.language) or _PERSON[lane.language]
