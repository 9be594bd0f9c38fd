"""A mail server on a free port of the loopback interface. Prints its port, then each mail as a line of JSON.

A mail to a local part starting with "later" is refused for now at its first try, one to "never" for good.
Of who logs in the password has to be "secret of larry", if larry it is. To whoever sent one to a local part starting with "clinging", nothing is said when they say goodbye.
"""
import asyncio
import json
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult

refused_once = set()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("never"):
            return "550 no such mailbox"
        if address.startswith("later") and address not in refused_once:
            refused_once.add(address)
            return "451 come again"
        session.clings = address.startswith("clinging")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        record = {
            "to": envelope.rcpt_tos,
            "from": envelope.mail_from,
            "user": session.auth_data,
            "subject": mail["subject"],
            "id": mail["message-id"],
            "body": mail.get_body(("plain",)).get_content(),
            "html": mail.get_body(("html",)).get_content(),
            "unsubscribe": [mail["list-unsubscribe"], mail["list-unsubscribe-post"]],
        }
        print(json.dumps(record), flush=True)
        return "250 OK"

    async def handle_QUIT(self, server, session, envelope):
        if getattr(session, "clings", False):
            await asyncio.Event().wait()
        return "221 Bye"


def log_in(server, session, envelope, mechanism, data):
    user = data.login.decode()
    return AuthResult(success=data.password.decode() == f"secret of {user}", handled=False, auth_data=user)


async def main():
    loop = asyncio.get_running_loop()

    def serve():
        return SMTP(Handler(), loop=loop, authenticator=log_in, auth_require_tls=False)

    server = await loop.create_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
