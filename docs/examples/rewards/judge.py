import asyncio
import os

from openai import AsyncOpenAI


async def judged(prompts, completions, **kwargs):
    """A grade from 0 to 1 by a model on a server, None (no label) if its reply is not a number."""
    async with AsyncOpenAI(base_url=os.environ["JUDGE_URL"], api_key="none") as client:

        async def grade(prompt, completion):
            question = f"{prompt}\n{completion}\nGrade this answer from 0 to 10. Reply with the number alone."
            messages = [{"role": "user", "content": question}]
            reply = await client.chat.completions.create(model="judge", messages=messages, temperature=0)
            text = reply.choices[0].message.content.strip()
            return int(text) / 10 if text.isdecimal() else None

        return await asyncio.gather(*map(grade, prompts, completions))
