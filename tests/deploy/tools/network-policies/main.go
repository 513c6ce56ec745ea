// network-policies lets through, of the packets that the kernel asks about, those that Kubernetes' network policies allow.
//
// It is the controller of kube-network-policies with a way to the API server that leads from outside of a pod. What it
// asks the kernel for by rules of nftables, a kernel without their `queue` refuses; so who starts it sends packets of new
// connections from and to pods into the queue by iptables.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to get to the API server")
	node := flag.String("node", "", "the node's name, whose pods are guarded")
	queue := flag.Int("queue", 100, "the number of the queue in which packets come")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := guard(ctx, *kubeconfig, *node, *queue); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func guard(ctx context.Context, kubeconfig, node string, queue int) error {
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	// It may ask the runtime whose an address is. One that cannot say is no error, while to forbid the question makes it
	// fall over the first address that is no pod's.
	config := networkpolicy.Config{QueueID: queue, NodeName: node, NFTableName: "network-policies"}
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		config,
	)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	return controller.Run(ctx)
}
