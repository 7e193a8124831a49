"""The cloud of the tests is what the tests take it for."""

from tests.cloud import Cloud


async def test_what_is_sent_to_a_topic_arrives_in_its_queue(cloud: Cloud) -> None:
    async with cloud.client("sns") as sns, cloud.client("sqs") as sqs:
        topic = (await sns.create_topic(Name="t"))["TopicArn"]
        queue = (await sqs.create_queue(QueueName="q"))["QueueUrl"]
        named = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        await sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=named["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )  # fmt: skip
        await sns.publish(TopicArn=topic, Message="hello")
        received = await sqs.receive_message(QueueUrl=queue)
    assert [message["Body"] for message in received["Messages"]] == ["hello"]


async def test_nothing_is_left_of_what_another_test_did(cloud: Cloud) -> None:
    async with cloud.client("sns") as sns:
        await sns.create_topic(Name="left")
        cloud.reset()
        assert (await sns.list_topics())["Topics"] == []
